"""The pictures of a data set with all of their boxes, in arrays that are quick to filter."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dyhead.viewer.kinds import Errors, Found, Objects, classify_errors


class PictureEntry(NamedTuple):
    """A picture by its name in the data set, and its size in pixels, upright."""

    name: str
    width: int
    height: int


@dataclass(frozen=True)
class PictureSet:
    """A data set, and predictions for it.

    Attributes:
        name: of the data set.
        image_root: the folder that the pictures' names start at.
        may_leave: pictures whose files lie outside that folder, by links or names, are shown.
        class_names: by class index.
        pictures: their places in this list are their ids in the page.
        truth_pictures: (T,), the picture of each object, ascending.
        truth: boxes, classes and crowds, T of each.
        found_pictures: (D,), the picture of each detection, ascending.
        found: boxes, classes and scores, D of each, the most certain of a picture first.
        errors: the kinds of the D detections, and scores of the T objects.
        results_folder: of the predictions, as seen from the run's; "" where there are none.
        left_out: how many pictures the data set names that cannot be used.
    """

    name: str
    image_root: Path
    may_leave: bool
    class_names: Sequence[str]
    pictures: Sequence[PictureEntry]
    truth_pictures: np.ndarray
    truth: Objects
    found_pictures: np.ndarray
    found: Found
    errors: Errors
    results_folder: str
    left_out: int

    @property
    def has_predictions(self) -> bool:
        """False where no file of predictions was there."""
        return bool(self.results_folder)

    def truth_of(self, picture: int) -> slice:
        """Return the places of a picture's objects in the arrays."""
        return _places(self.truth_pictures, picture)

    def found_in(self, picture: int) -> slice:
        """Return the places of a picture's detections in the arrays."""
        return _places(self.found_pictures, picture)


def classify_all(
    num_pictures: int,
    truth_pictures: np.ndarray,
    truth: Objects,
    found_pictures: np.ndarray,
    found: Found,
) -> Errors:
    """Classify the errors of all pictures; pictures are ascending, see `PictureSet`."""
    kinds = np.zeros(len(found_pictures), dtype=np.int8)
    found_at = np.full(len(truth_pictures), -1.0)
    excused_at = found_at.copy()
    for picture in range(num_pictures):
        objects, detections = _places(truth_pictures, picture), _places(found_pictures, picture)
        errors = classify_errors(
            Objects(*(each[objects] for each in truth)),
            Found(*(each[detections] for each in found)),
        )
        kinds[detections] = errors.kinds
        found_at[objects], excused_at[objects] = errors.found_at, errors.excused_at
    return Errors(kinds, found_at, excused_at)


def _places(ascending: np.ndarray, picture: int) -> slice:
    first, last = np.searchsorted(ascending, [picture, picture + 1])
    return slice(int(first), int(last))
