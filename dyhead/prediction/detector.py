"""A trained detector for pictures of any kind."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch

from dyhead.data.model_input import resized_size
from dyhead.errors import UserError, first_few
from dyhead.prediction.batching import map_in_batches
from dyhead.prediction.detections import Detections
from dyhead.prediction.inputs import ChannelOrder, Picture, PictureSource, is_picture, read_picture
from dyhead.prediction.runner import RawDetections, Runner
from dyhead.prediction.torch_runner import TorchRunner

if TYPE_CHECKING:
    from dyhead.explanation import Explanation

_BATCH_SIZE = 4
_STRIDE = 32  # of the backbones: pictures are padded to its multiples


class Detector:
    """Finds objects in pictures.

        detector = Detector("output/cells")
        detections = detector("cell.jpg")

    Attributes:
        class_names: of the classes it knows, in the order of their indices.
        category_ids: the data set's ids of the same classes.
        threshold: the lowest score of what is returned.

    Args:
        source: a run's folder, a checkpoint (.pth, .safetensors), or a model that `dyhead export`
            wrote (.onnx).
        config: a config file, or a packaged config's name, for a checkpoint that holds none.
        device: "cuda", "cpu", ...; None takes a GPU where there is one.
        threshold: the lowest score of what is returned. What the detector's own limit leaves out,
            such as MODEL.ATSS.INFERENCE_TH or MODEL.RETINANET.SCORE_THRESH_TEST, is never seen.
        overrides: config keys and values, such as ["TEST.AUG.ENABLED", True].
        allow_partial: take weights that leave a part of the model random.

    Raises:
        UserError: `source` cannot be used; the message says why, and what to do.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        config: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device | None = None,
        threshold: float = 0.3,
        overrides: Sequence[Any] = (),
        allow_partial: bool = False,
    ) -> None:
        self.threshold = _checked_threshold(threshold)
        ending = Path(source).suffix.lower()
        if ending == ".pt2":
            raise UserError(
                f"{source} is a program of torch.export: load it by torch.export.load, or give the"
                " checkpoint or the .onnx here."
            )
        if ending == ".onnx":
            self._runner = _load_onnx(source, config, device, overrides)
        else:
            self._runner = _load_torch(source, config, device, overrides, allow_partial)

    @classmethod
    def from_runner(cls, runner: Runner, threshold: float = 0.3) -> "Detector":
        """Make a detector that computes by `runner`."""
        detector = cls.__new__(cls)
        detector.threshold = _checked_threshold(threshold)
        detector._runner = runner
        return detector

    @property
    def runner(self) -> Runner:
        """The runner that it computes by."""
        return self._runner

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their indices; empty where unknown."""
        return self._runner.class_names

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        """The data set's ids of the same classes; empty where unknown."""
        return self._runner.category_ids

    @property
    def input_format(self) -> str:
        """The order of channels that the model takes; pictures are converted to it."""
        return self._runner.input_format

    def __repr__(self) -> str:
        """Name the first classes."""
        names = first_few(self.class_names, 5)
        return f"<Detector of {names or 'classes without names'}>"

    def read(self, given: PictureSource | Picture, channels: ChannelOrder = "BGR") -> Picture:
        """Read a picture as the model takes it; `detector(picture)` takes the result too.

        Raises:
            UserError: it cannot be read.
        """
        if isinstance(given, Picture):
            return given
        return read_picture(given, channels, self._runner.input_format)

    @overload  # a str is a sequence too: the first that fits counts
    def __call__(  # type: ignore[overload-overlap]
        self,
        pictures: PictureSource | Picture,
        *,
        threshold: float | None = ...,
        batch_size: int = ...,
        channels: ChannelOrder = ...,
    ) -> Detections: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        pictures: Sequence[PictureSource | Picture],
        *,
        threshold: float | None = ...,
        batch_size: int = ...,
        channels: ChannelOrder = ...,
    ) -> list[Detections]: ...

    @overload
    def __call__(
        self,
        pictures: Iterable[PictureSource | Picture],
        *,
        threshold: float | None = ...,
        batch_size: int = ...,
        channels: ChannelOrder = ...,
    ) -> Iterator[Detections]: ...

    def __call__(
        self,
        pictures: PictureSource | Picture | Iterable[PictureSource | Picture],
        *,
        threshold: float | None = None,
        batch_size: int = _BATCH_SIZE,
        channels: ChannelOrder = "BGR",
    ) -> Detections | list[Detections] | Iterator[Detections]:
        """Detect objects in one picture, or in several.

        Args:
            pictures: a path, an http(s) address, a PIL image, an array or a tensor (see
                `read_picture` for shapes), or a list or an iterator of them. Arrays and tensors are
                uint8, 0 to 255.
            threshold: in the place of the detector's own.
            batch_size: how many pictures are computed together, where their sizes allow it.
            channels: the order of the channels of arrays and tensors: "BGR", as OpenCV and
                Detectron2 give them, or "RGB".

        Returns:
            Detections for one picture, a list for a list, an iterator for an iterator. The iterator
            reads a few batches ahead at most. The order is that of the pictures, and each gets what
            it would get alone.

        Raises:
            UserError: a picture cannot be read, or an argument cannot be used.
        """
        if channels not in ("BGR", "RGB"):
            raise UserError(f"channels is {channels!r}: make it 'BGR' or 'RGB'.")
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}: make it 1 or more.")
        lowest = self.threshold if threshold is None else _checked_threshold(threshold)
        if isinstance(pictures, Picture) or is_picture(pictures):
            (detections,) = self._detect([pictures], lowest, 1, channels)
            return detections
        if not isinstance(pictures, Iterable):
            raise UserError(f"A picture cannot be a {type(pictures).__name__}.")
        found = self._detect(pictures, lowest, batch_size, channels)
        return list(found) if isinstance(pictures, Sequence) else found

    def explain(
        self,
        picture: PictureSource | Picture,
        *,
        threshold: float | None = None,
        block: int | None = None,
        channels: ChannelOrder = "BGR",
    ) -> "Explanation":
        """Detect objects in one picture, and say what the attentions did for each of them.

        Args:
            picture: as for a call.
            threshold: in the place of the detector's own.
            block: the DyHead block, from 1, from which sampling points are traced to the picture;
                None for the last one.
            channels: as for a call.

        Returns:
            the detections of a call, with the level and location that each is from, the scale
            attention's weights, the sampling points and the switched channels of every block, all
            of them from the forward pass that found the detections.

        Raises:
            UserError: a picture cannot be read; or the detector cannot be explained, such as an
                exported one or a two-stage one, or has no such block.
        """
        from dyhead.explanation import Explainer

        lowest = self.threshold if threshold is None else _checked_threshold(threshold)
        explainer = Explainer(self._runner, block)
        read = self.read(picture, channels)
        found, origins, records = explainer.run(read)
        best = _best_first(found)
        chosen = [origins[index] for index in best if found.scores[index] >= lowest]
        detections = self._as_detections(read, found).select(lowest)
        return explainer.explain(read, detections, chosen, records)

    def _detect(
        self, given: Iterable[Any], threshold: float, batch_size: int, channels: ChannelOrder
    ) -> Iterator[Detections]:
        pictures = (self.read(picture, channels) for picture in given)

        def compute(batch: Sequence[Picture]) -> list[Detections]:
            raw = self._runner([picture.pixels for picture in batch])
            return [
                self._as_detections(picture, found).select(threshold)
                for picture, found in zip(batch, raw, strict=True)
            ]

        return map_in_batches(compute, pictures, self._padded_size, batch_size)

    def _padded_size(self, picture: Picture) -> tuple[int, int]:
        """Estimate the padded (height, width) of a resized picture, in multiples of the stride."""
        height, width = self._resized(*picture.size)
        return -(-height // _STRIDE), -(-width // _STRIDE)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        return resized_size(height, width, self._runner.min_size, self._runner.max_size)

    def _as_detections(self, picture: Picture, found: RawDetections) -> Detections:
        best = _best_first(found)
        return Detections(
            boxes=found.boxes[best],
            scores=found.scores[best],
            class_ids=found.class_ids[best],
            class_names=self.class_names,
            category_ids=self.category_ids,
            image_size=picture.size,
            file_name=picture.file_name,
            given=picture.given,
            channels=picture.given_order,
        )


def _best_first(found: RawDetections) -> np.ndarray:
    return np.argsort(-found.scores, kind="stable")


def _checked_threshold(threshold: float) -> float:
    if not 0 <= threshold <= 1:
        raise UserError(f"The threshold is {threshold:g}: make it a score from 0 to 1.")
    return threshold


def _load_torch(
    source: str | os.PathLike[str],
    config: str | os.PathLike[str] | None,
    device: str | torch.device | None,
    overrides: Sequence[Any],
    allow_partial: bool,
) -> Runner:
    from dyhead.detector import load_detector

    ready = load_detector(
        source,
        config,
        [str(part) for part in overrides],
        device=device,
        allow_partial=allow_partial,
    )
    return TorchRunner(ready)


def _load_onnx(
    source: str | os.PathLike[str],
    config: str | os.PathLike[str] | None,
    device: str | torch.device | None,
    overrides: Sequence[Any],
) -> Runner:
    if config is not None or overrides:
        raise UserError(
            f"{source} is an exported model, whose config, precision and scales are fixed: give the"
            " checkpoint to change them."
        )
    from dyhead.export.onnx_runner import OnnxRunner

    return OnnxRunner(source, device=None if device is None else str(device))
