"""Draws the best and the worst pictures of an evaluation, ground truth beside detections."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dyhead.evaluation.measures.error_kinds import ErrorKind
from dyhead.evaluation.measures.ranking import PictureScore, best, worst
from dyhead.picture_files import read_rgb
from dyhead.run_report.evaluation import Evaluation
from dyhead.visualization.boxes import DrawnBox, draw_boxes
from dyhead.visualization.colors import class_colors

NUMBER = 4  # of the best, and of the worst
_SIDE = 560  # pixels of a drawn picture, at most
_GAP = 6


@dataclass(frozen=True)
class DrawnPicture:
    """A picture twice, with its objects and with its detections, and what is to say of it."""

    truth: Image.Image
    found: Image.Image
    caption: str

    def joined(self) -> Image.Image:
        """Return both side by side."""
        size = (2 * self.truth.width + _GAP, self.truth.height)
        joined = Image.new("RGB", size, "white")
        joined.paste(self.truth, (0, 0))
        joined.paste(self.found, (self.truth.width + _GAP, 0))
        return joined


@dataclass(frozen=True)
class Examples:
    """The pictures of an evaluation with the lowest and with the highest F1.

    Attributes:
        worst: the lowest first.
        best: the highest first, without those that are among the worst.
        unread: names of files that belong among these, but are missing or cannot be read.
    """

    worst: Sequence[DrawnPicture]
    best: Sequence[DrawnPicture]
    unread: Sequence[str]


def draw_examples(measured: Evaluation, files: Mapping[Any, Path]) -> Examples:
    """Draw the worst and the best pictures, with the class thresholds applied.

    Args:
        measured: the evaluation.
        files: of its pictures, by image id.
    """
    lowest = worst(measured.pictures, NUMBER)
    indices = {each.index for each in lowest}
    highest = best([each for each in measured.pictures if each.index not in indices], NUMBER)
    unread: list[str] = []
    return Examples(
        list(_draw_all(lowest, measured, files, unread)),
        list(_draw_all(highest, measured, files, unread)),
        unread,
    )


def _draw_all(
    scores: Sequence[PictureScore],
    measured: Evaluation,
    files: Mapping[Any, Path],
    unread: list[str],
) -> Iterator[DrawnPicture]:
    for score in scores:
        data = measured.evaluated.pictures[score.index]
        path = files.get(data.image_id)
        picture = None if path is None else read_rgb(path)
        if picture is None:
            unread.append(Path(data.file_name).name)
        else:
            yield _draw(score, picture, measured)


def _draw(score: PictureScore, picture: Image.Image, measured: Evaluation) -> DrawnPicture:
    data = measured.evaluated.pictures[score.index]
    kept = data.scores >= measured.thresholds[data.classes]
    zoom = _SIDE / max(picture.size)
    objects = _boxes(data.truth_boxes, data.truth_classes, measured)
    crowds = [
        DrawnBox(box.corners, box.color, box.name, is_dashed=bool(is_crowd))
        for box, is_crowd in zip(objects, data.is_crowd, strict=True)
    ]
    found = _boxes(data.boxes[kept], data.classes[kept], measured, data.scores[kept])
    return DrawnPicture(
        draw_boxes(picture, crowds, zoom),
        draw_boxes(picture, found, zoom),
        f"{Path(data.file_name).name}: {describe(score)}",
    )


def describe(score: PictureScore) -> str:
    """Say what is right and wrong in a picture."""
    kinds = ", ".join(
        f"{score.kinds[kind]} {kind.label}" for kind in ErrorKind if score.kinds[kind]
    )
    false = f"{score.num_false} false ({kinds})" if kinds else "none false"
    return f"{score.num_found} found, {score.num_missed} not found, {false}; F1 {score.f1:.2f}"


def _boxes(
    boxes: np.ndarray, classes: np.ndarray, measured: Evaluation, scores: np.ndarray | None = None
) -> list[DrawnBox]:
    names = measured.evaluated.class_names
    colors = class_colors(len(names))
    values = [None] * len(boxes) if scores is None else scores.tolist()
    return [
        DrawnBox((x, y, x + width, y + height), colors[index], names[index], value)
        for (x, y, width, height), index, value in zip(
            boxes.tolist(), classes.tolist(), values, strict=True
        )
    ]
