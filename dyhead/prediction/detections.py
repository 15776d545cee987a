"""The detections of one picture: boxes, scores, classes, drawings and other forms of them."""

import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from dyhead.d2.structures import Boxes, Instances
from dyhead.errors import UserError, user_errors
from dyhead.prediction.inputs import ChannelOrder, PictureSource, read_picture
from dyhead.safe_io.save import write_bytes_atomically
from dyhead.visualization.boxes import DrawnBox, draw_boxes, readable_zoom
from dyhead.visualization.colors import class_colors

if TYPE_CHECKING:
    import supervision

_JPEG_QUALITY = 92


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """The objects found in one picture, the most certain first.

    Attributes:
        boxes: (N, 4), float32, XYXY in pixels of the picture as it was given, turned upright.
        scores: (N,), float32, from 0 to 1.
        class_ids: (N,), int64, indices into `class_names`.
        class_names: of all classes that the detector knows; empty where unknown.
        category_ids: the data set's ids of the same classes; empty where unknown.
        image_size: (height, width) in pixels.
        file_name: the path or address of the picture, None for arrays and the like.
        given: the picture as it was given, to draw on; a path is read again then.
        channels: the order of its channels, where it is an array or a tensor.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    class_names: tuple[str, ...]
    category_ids: tuple[int | str, ...]
    image_size: tuple[int, int]
    file_name: str | None = None
    given: PictureSource | None = None
    channels: ChannelOrder = "BGR"

    def __len__(self) -> int:
        """Count the objects."""
        return len(self.boxes)

    def __getitem__(self, chosen: Any) -> "Detections":
        """Select some of the objects: by a mask, indices, a slice or one index."""
        is_one = isinstance(chosen, Integral) and not isinstance(chosen, bool)  # NumPy's, too
        index = [chosen] if is_one else chosen
        return replace(
            self,
            boxes=self.boxes[index],
            scores=self.scores[index],
            class_ids=self.class_ids[index],
        )

    def __repr__(self) -> str:
        """Count the objects by class, and name the picture."""
        height, width = self.image_size
        counts = ", ".join(f"{n} {name}" for name, n in Counter(self.names).most_common())
        where = f" in {self.file_name}" if self.file_name else ""
        return f"<Detections: {counts or 'nothing'}{where} ({width} x {height})>"

    @property
    def names(self) -> list[str]:
        """The class name of each object; "class 3" where the names are unknown."""
        return [
            self.class_names[i] if self.class_names else f"class {i}"
            for i in self.class_ids.tolist()
        ]

    @property
    def instances(self) -> Instances:
        """The host's Instances: `pred_boxes`, `scores` and `pred_classes`, on the CPU."""
        return Instances(
            self.image_size,
            pred_boxes=Boxes(torch.from_numpy(self.boxes.copy())),
            scores=torch.from_numpy(self.scores.copy()),
            pred_classes=torch.from_numpy(self.class_ids.copy()),
        )

    def select(self, threshold: float = 0.0, classes: Sequence[str] | None = None) -> "Detections":
        """Select objects with a score of at least `threshold`, of the classes named (None: of all).

        Raises:
            UserError: a class is unknown.
        """
        chosen = self.scores >= threshold
        if classes is not None:
            chosen &= np.isin(self.class_ids, class_indices(classes, self.class_names))
        return self[chosen]

    def plot(self, image: Image.Image | None = None, scale: float | None = None) -> Image.Image:
        """Draw the boxes with names and scores on the picture.

        Args:
            image: what to draw on; None for the picture itself, which is read again if it was given
                as a path.
            scale: the result's size over the picture's. None is 1, and for pictures below 320
                pixels a whole number that makes the labels readable.

        Raises:
            UserError: the picture is not there any more, `image` has another size, or `scale` is
                none.
        """
        if scale is not None and not scale > 0:
            raise UserError(f"scale is {scale}: give a number above 0.")
        if image is None:
            image = self._read()
        if (image.height, image.width) != self.image_size:
            raise UserError(
                f"The image has {image.width} x {image.height} pixels, the detections are of one of"
                f" {self.image_size[1]} x {self.image_size[0]}: give the picture that was detected"
                " in."
            )
        zoom = readable_zoom(image.size) if scale is None else scale
        return draw_boxes(image, self.drawn_boxes(), zoom)

    def drawn_boxes(self) -> list[DrawnBox]:
        """Return the boxes as they are drawn: in their classes' colours, with names and scores."""
        largest = max(self.class_ids.tolist(), default=-1)
        colors = class_colors(max(len(self.class_names), largest + 1))
        return [
            DrawnBox((box[0], box[1], box[2], box[3]), colors[index], name, score)
            for box, score, index, name in self._rows()
        ]

    def save(self, path: str | os.PathLike[str], image: Image.Image | None = None) -> Path:
        """Write the picture of `plot`; the name's ending tells the format.

        Returns:
            the path; its folder is made if need be.

        Raises:
            UserError: it is the picture's own file, or cannot be written.
        """
        target = Path(path)
        if self.file_name and target.exists() and _is_same_file(target, self.file_name):
            raise UserError(f"{target} is the picture itself: choose another name for the drawing.")
        file_format = Image.registered_extensions().get(target.suffix.lower())
        if file_format not in Image.SAVE:
            raise UserError(f"{target}: no picture format ends in {target.suffix!r}: use .png.")
        file = io.BytesIO()
        options = {"quality": _JPEG_QUALITY} if file_format == "JPEG" else {}
        self.plot(image).save(file, file_format, **options)
        with user_errors(str(target)):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_bytes_atomically(file.getvalue(), target)
        return target

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; boxes are XYXY in pixels."""
        return {
            "file_name": self.file_name,
            "height": self.image_size[0],
            "width": self.image_size[1],
            "detections": [
                {
                    "box": box,
                    "score": score,
                    "class_id": index,
                    "category_id": self._category_id(index),
                    "name": name,
                }
                for box, score, index, name in self._rows()
            ],
        }

    def to_coco(self, image_id: int | str) -> list[dict[str, Any]]:
        """Make entries of COCO's result format.

        Args:
            image_id: the picture's id in its data set.

        Returns:
            dicts with image_id, category_id, bbox (x, y, width, height in pixels) and score. Where
            the data set's ids are unknown, category_id is the class index, from 0.
        """
        return [
            {
                "image_id": image_id,
                "category_id": self._category_id(index),
                "bbox": [left, top, right - left, bottom - top],
                "score": score,
            }
            for (left, top, right, bottom), score, index, _ in self._rows()
        ]

    def to_supervision(self) -> "supervision.Detections":
        """Convert to the package `supervision`, for its annotators, trackers and zones.

        Raises:
            UserError: the package is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise UserError(
                "to_supervision() needs the package supervision: pip install supervision."
            ) from error
        return supervision.Detections(
            xyxy=self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=self.class_ids.astype(int),
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def _rows(self) -> Iterator[tuple[list[float], float, int, str]]:
        """Yield box, score, class index and name of each object."""
        return zip(
            self.boxes.tolist(),
            self.scores.tolist(),
            self.class_ids.tolist(),
            self.names,
            strict=True,
        )

    def _category_id(self, index: int) -> int | str:
        return self.category_ids[index] if self.category_ids else index

    def _read(self) -> Image.Image:
        if self.given is None:
            raise UserError("These detections hold no picture: give it to plot() or save().")
        return read_picture(self.given, self.channels, "RGB").as_image()


def class_indices(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Look up the indices of classes by their names.

    Raises:
        UserError: a name is unknown.
    """
    if isinstance(names, str):
        raise UserError(f"Classes are a list of names: give [{names!r}].")
    for name in names:
        if name not in known:
            choice = f"one of {', '.join(known)}" if known else "none, for the names are unknown"
            raise UserError(f"The detector has no class {name!r}: choose {choice}.")
    return [index for index, name in enumerate(known) if name in names]


def _is_same_file(path: Path, other: str) -> bool:
    return os.path.exists(other) and os.path.samefile(path, other)
