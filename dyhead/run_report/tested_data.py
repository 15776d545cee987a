"""Tells whether two evaluations measured on the same data."""

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from dyhead.evaluation.measures.pictures import EvaluatedSet

_DIGITS = 1  # of a pixel, to which boxes have to agree


@dataclass(frozen=True)
class TestedData:
    """The data of an evaluation; equal for the same labels of the same pictures.

    Attributes:
        classes: their names.
        pictures: id and file name of each, without folders: data may have moved.
        objects: name and number of each class, without crowds.
        boxes: of all pictures, crowds included.
    """

    classes: frozenset[str]
    pictures: tuple[tuple[Any, str], ...]
    objects: frozenset[tuple[str, int]]
    boxes: bytes

    def difference(self, other: "TestedData") -> str:
        """Say in a clause what `other` has otherwise; "" where it is the same data."""
        if self.classes != other.classes:
            return "its classes are other ones"
        if self.pictures != other.pictures:
            numbers = f"{len(other.pictures):,}, not {len(self.pictures):,}"
            is_more = len(other.pictures) != len(self.pictures)
            return "its pictures are other ones" + (f": {numbers}" if is_more else "")
        if self.objects != other.objects:
            return f"it has other objects: {other.num_objects:,}, not {self.num_objects:,}"
        return "" if self.boxes == other.boxes else "the boxes of its objects are other ones"

    @property
    def num_objects(self) -> int:
        """The objects of all classes."""
        return sum(number for _, number in self.objects)


def tested_data(evaluated: EvaluatedSet) -> TestedData:
    """Describe the data of an evaluation."""
    names = evaluated.class_names
    counts: Counter[str] = Counter()
    for picture in evaluated.pictures:
        counts.update(names[index] for index in picture.truth_classes[~picture.is_crowd])
    boxes = [picture.truth_boxes for picture in evaluated.pictures]
    return TestedData(
        frozenset(names),
        tuple((each.image_id, PurePath(each.file_name).name) for each in evaluated.pictures),
        frozenset(counts.items()),
        np.concatenate([np.zeros((0, 4)), *boxes]).round(_DIGITS).tobytes(),
    )
