"""Tells boxes that seem to be written in another form than (x, y, width, height) in pixels."""

from collections.abc import Callable

from dyhead.data.checks import kinds
from dyhead.data.checks.report import CheckReport, Item

_TOLERANCE = 0.5  # pixels
_MIN_BOXES = 5  # fewer corners prove nothing
_MIN_LEAVING = 0.25  # of the boxes: about three quarters of corners leave an image as widths
_MAX_MISFITS = 0.01  # of the boxes: dirt
_MIN_FRACTIONS = 0.9  # of the boxes


class BoxForms:
    """Collects how the boxes of a set would look as corners and as fractions."""

    def __init__(self) -> None:
        self._num_boxes = 0
        self._misfits = 0  # no corners inside the image
        self._leaving: list[dict] = []
        self._fractions: list[dict] = []

    def add(self, annotation: dict, image: dict) -> None:
        """Look at a box as it stands in the file, before it is clipped.

        Args:
            annotation: with a bbox of four finite numbers.
            image: its own, with width and height.
        """
        first, second, third, fourth = annotation["bbox"]
        right, bottom = image["width"] + _TOLERANCE, image["height"] + _TOLERANCE
        self._num_boxes += 1
        if first + third > right or second + fourth > bottom:
            self._leaving.append(annotation)
        is_inside = min(first, second) >= -_TOLERANCE and third <= right and fourth <= bottom
        if not (is_inside and third > first and fourth > second):
            self._misfits += 1
        if max(annotation["bbox"]) <= 1 and min(first, second) >= 0 and min(third, fourth) > 0:
            self._fractions.append(annotation)

    def report_to(self, report: CheckReport, describe: Callable[[dict], Item]) -> None:
        """Report every box of a suspicious form, with the evidence of the whole set."""
        total = self._num_boxes
        if self._fractions and len(self._fractions) >= _MIN_FRACTIONS * total:
            report.evidence[kinds.FRACTION_BOXES] = (
                f"{len(self._fractions)} of {total} boxes lie wholly between 0 and 1"
            )
            for annotation in self._fractions:
                report.add(kinds.FRACTION_BOXES, describe(annotation))
        if self._look_like_corners():
            report.evidence[kinds.CORNER_BOXES] = (
                f"as [x, y, width, height] {len(self._leaving)} of {total} boxes leave their image,"
                f" as corners {self._misfits or 'none'}"
            )
            for annotation in self._leaving:
                report.add(kinds.CORNER_BOXES, describe(annotation))

    def _look_like_corners(self) -> bool:
        total = self._num_boxes
        return (
            total >= _MIN_BOXES
            and len(self._leaving) >= _MIN_LEAVING * total
            and self._misfits <= _MAX_MISFITS * total
        )
