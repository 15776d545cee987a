"""Compares an exported file with the detector that it was made of, on pictures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.data.model_input import resize
from dyhead.data.shape_scenes import ShapesSpec, make_scene
from dyhead.errors import UserError
from dyhead.export.graph import DetectionGraph
from dyhead.prediction.inputs import read_picture

MAX_PIXELS = 1e-2
MAX_SCORE = 1e-4
PARTNER_DISTANCE = 1.0  # pixels; two boxes further apart are two detections
# Suppression and thresholds decide between nearly equal detections by the last digit.
MAX_UNPARTNERED_SHARE = 0.01
_SHAPES = ((256, 256), (256, 384))  # height and width of generated ones
MIN_UNPARTNERED = 2  # one of each side: a decision that fell differently

Session = Callable[[np.ndarray], Sequence[np.ndarray]]  # images (N, C, H, W) to outputs


class Found(NamedTuple):
    """The detections of file or detector in one picture; without NMS one per scored pair."""

    boxes: np.ndarray  # (D, 4), XYXY in pixels
    scores: np.ndarray  # (D,)
    classes: np.ndarray  # (D,)
    anchors: np.ndarray | None = None  # (D,), without NMS: which anchor's box it is


@dataclass
class Check:
    """The deviation of an exported file from its detector.

    Attributes:
        pixels: largest difference of a box's coordinate.
        score: largest difference of a score.
        compared: pairs of detections that were compared.
        unpartnered: detections of either side without one of the same class and place on the other.
        batches: number, height and width of the pictures of every batch.
    """

    pixels: float = 0.0
    score: float = 0.0
    compared: int = 0
    unpartnered: int = 0
    batches: list[tuple[int, int, int]] = field(default_factory=list)

    def __str__(self) -> str:
        """Format the deviation as one sentence."""
        sizes = ", ".join(f"{count} of {height} x {width}" for count, height, width in self.batches)
        return (
            f"largest difference {self.pixels:.1e} pixels and {self.score:.1e} of a score, over"
            f" {self.compared} detections; {self.unpartnered} without a partner (pictures: {sizes})"
        )

    @property
    def allowed_unpartnered(self) -> int:
        """The number that may lack a partner: see `MAX_UNPARTNERED_SHARE`."""
        total = 2 * self.compared + self.unpartnered
        return max(MIN_UNPARTNERED, int(total * MAX_UNPARTNERED_SHARE))

    def require_equal(self, path: str) -> None:
        """Refuse a file that computes something else, or on which nothing was compared.

        Raises:
            UserError: it does; nothing was found on any picture.
        """
        are_close = self.pixels <= MAX_PIXELS and self.score <= MAX_SCORE
        if not are_close or self.unpartnered > self.allowed_unpartnered:
            raise UserError(
                f"{path} is not written, since it would not compute what the detector does: {self}."
            )
        if not self.compared:
            raise UserError(
                f"{path} is not written, since nothing is found on the pictures on which it would"
                " be compared with the detector: name some with --picture on which it finds"
                " something."
            )


@torch.no_grad()
def compare(
    model: nn.Module, graph: DetectionGraph, session: Session, pictures: Sequence[np.ndarray]
) -> Check:
    """Run file and detector on the same pictures.

    Every picture goes alone in its size, and together with its mirror image at three quarters of
    it.

    Args:
        model: takes Detectron2's inputs.
        graph: of that model.
        session: the file.
        pictures: (H, W, C), uint8, in the detector's order of channels.
    """
    check = Check()
    for images in _batches(pictures):
        outputs = _run(session, images)
        if graph.with_nms:
            expected = _detections_of(model, images)
            actual = [_split(outputs, index) for index in range(len(images))]
        else:
            reference = [output.numpy() for output in graph(torch.from_numpy(images))]
            expected = [_pairs(reference, index) for index in range(len(images))]
            actual = [_pairs(outputs, index) for index in range(len(images))]
        for both in zip(expected, actual, strict=True):
            _add(check, *both)
        check.batches.append((len(images), images.shape[2], images.shape[3]))
    return check


def _run(session: Session, images: np.ndarray) -> list[np.ndarray]:
    try:
        return [np.asarray(output) for output in session(images)]
    except Exception as error:  # either library has errors of its own
        count, _, height, width = images.shape
        raise UserError(
            f"No file is written, since it could not be run on {count} pictures of {height} x"
            f" {width}: {str(error).strip().splitlines()[0]}"
        ) from error


def _batches(pictures: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    for picture in pictures:
        image = np.ascontiguousarray(picture.transpose(2, 0, 1))
        yield image[None]
        smaller = _three_quarters(image)
        yield np.stack([smaller, smaller[:, :, ::-1]])


def _three_quarters(image: np.ndarray) -> np.ndarray:
    height, width = (max(1, length * 3 // 4) for length in image.shape[1:])
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None].float(), (height, width), mode="bilinear", antialias=True
    )
    return resized[0].round().clamp(0, 255).byte().numpy()


def _detections_of(model: nn.Module, images: np.ndarray) -> list[Found]:
    inputs: list[dict[str, Any]] = [{"image": torch.from_numpy(image)} for image in images]
    instances = [output["instances"] for output in model(inputs)]
    return [
        Found(each.pred_boxes.tensor.numpy(), each.scores.numpy(), each.pred_classes.numpy())
        for each in instances
    ]


def _split(outputs: Sequence[np.ndarray], index: int) -> Found:
    """Take the detections of one picture from a file's outputs."""
    boxes, scores, classes, counts = outputs
    count = int(counts[index])
    return Found(boxes[index, :count], scores[index, :count], classes[index, :count])


def _pairs(outputs: Sequence[np.ndarray], index: int) -> Found:
    """List the (anchor, class) pairs of one picture that have a score."""
    boxes, scores = outputs
    anchors, classes = np.nonzero(scores[index])
    return Found(boxes[index, anchors], scores[index, anchors, classes], classes, anchors)


def _add(check: Check, expected: Found, actual: Found) -> None:
    """Add the deviation in one picture."""
    pairs = _partners(expected, actual)
    check.unpartnered += len(expected.scores) + len(actual.scores) - 2 * len(pairs)
    check.compared += len(pairs)
    if len(pairs):
        first, second = pairs.T
        apart = np.abs(expected.boxes[first] - actual.boxes[second]).max()
        check.pixels = float(np.maximum(check.pixels, apart))  # NaN stays, and is refused
        apart = np.abs(expected.scores[first] - actual.scores[second]).max()
        check.score = float(np.maximum(check.score, apart))


def _partners(expected: Found, actual: Found) -> np.ndarray:
    """Pair detections of both sides that are the same, (P, 2) indices."""
    if expected.anchors is not None and actual.anchors is not None:
        known = {key: i for i, key in enumerate(zip(actual.anchors, actual.classes, strict=True))}
        keys = zip(expected.anchors, expected.classes, strict=True)
        found = [(i, known[key]) for i, key in enumerate(keys) if key in known]
    else:
        found = _nearest(expected, actual)
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _nearest(expected: Found, actual: Found) -> list[tuple[int, int]]:
    """Pair detections of one class, nearest boxes first, at most PARTNER_DISTANCE apart."""
    distance = np.abs(expected.boxes[:, None] - actual.boxes[None]).max(-1, initial=0.0)
    distance[expected.classes[:, None] != actual.classes[None]] = np.inf
    distance = np.where(distance > PARTNER_DISTANCE, np.inf, distance)
    # Equal boxes of one class have other scores: the nearer score decides.
    distance += np.abs(expected.scores[:, None] - actual.scores[None])
    pairs = []
    for flat in np.argsort(distance, axis=None, kind="stable"):
        i, j = np.unravel_index(flat, distance.shape)
        if not np.isfinite(distance[i, j]):
            continue
        pairs.append((int(i), int(j)))
        distance[i, :] = distance[:, j] = np.inf
    return pairs


def pictures_to_compare(
    cfg: CfgNode, paths: Sequence[str] = (), size: tuple[int, int] | None = None
) -> list[np.ndarray]:
    """Read or generate pictures (H, W, 3), uint8, in INPUT.FORMAT, resized for the detector.

    Args:
        cfg: the detector's.
        paths: of files; without any, scenes of the data set "shapes" are generated.
        size: height and width in pixels in the place of what INPUT.MIN_SIZE_TEST makes of them.

    Raises:
        UserError: a file cannot be read.
    """
    scenes = [_scene(index, *shape) for index, shape in enumerate(_SHAPES)]
    given: Sequence[str | Image.Image] = paths or scenes
    pictures = [read_picture(each, wanted_order=cfg.INPUT.FORMAT).pixels for each in given]
    return [_resized(picture, cfg, size) for picture in pictures]


def _scene(index: int, height: int, width: int) -> Image.Image:
    scene = make_scene(ShapesSpec(height=height, width=width), split=1, index=index)
    return Image.fromarray(scene.image)


def _resized(picture: np.ndarray, cfg: CfgNode, size: tuple[int, int] | None) -> np.ndarray:
    if size is not None:
        image = Image.fromarray(np.ascontiguousarray(picture))
        return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return resize(picture, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
