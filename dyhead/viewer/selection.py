"""Chooses the pictures and boxes of a set that fit a page's filters, as plain values for JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np

from dyhead.viewer.kinds import NO_ERRORS, Kind
from dyhead.viewer.picture_set import PictureSet

ORDERS = ("given", "most")  # as in the data set, or with the most errors first
MAX_PICTURES = 300  # of one answer
_DIGITS = 2  # of coordinates: a hundredth of a pixel
_SCORE_DIGITS = 4


class State(IntEnum):
    """The fate of an object of the ground truth at a score threshold."""

    FOUND = 0
    MISTAKEN = 1  # for another class, or badly placed
    MISSED = 2
    CROWD = 3
    UNKNOWN = 4  # there are no predictions


@dataclass(frozen=True)
class Query:
    """The filters of a page.

    Attributes:
        low: the lowest score of predictions that count.
        high: the highest one that is shown.
        classes: indices of the classes that are shown; empty for all.
        kinds: kinds of errors that are shown; empty for all.
        text: a part of the pictures' names, in any case of letters.
        order: one of `ORDERS`.
        start: the first of the pictures that fit, from 0.
        limit: how many of them at most.
    """

    low: float = 0.0
    high: float = 1.0
    classes: frozenset[int] = frozenset()
    kinds: frozenset[int] = frozenset()
    text: str = ""
    order: str = "given"
    start: int = 0
    limit: int = 60

    @classmethod
    def parse(cls, values: Mapping[str, str]) -> "Query":
        """Read the filters of an address.

        Raises:
            ValueError: a value is none that the page sends.
        """
        query = cls(
            low=float(values.get("low", 0)),
            high=float(values.get("high", 1)),
            classes=_numbers(values.get("classes", "")),
            kinds=_numbers(values.get("kinds", "")),
            text=values.get("text", ""),
            order=values.get("order", "given"),
            start=int(values.get("start", 0)),
            limit=int(values.get("limit", 60)),
        )
        if not (0 <= query.low <= 1 and 0 <= query.high <= 1):
            raise ValueError("scores are from 0 to 1")
        if query.order not in ORDERS or query.start < 0 or not 0 < query.limit <= MAX_PICTURES:
            raise ValueError("there is no such order or page")
        return query


def _numbers(text: str) -> frozenset[int]:
    return frozenset(int(each) for each in text.split(",") if each)


def select(pictures: PictureSet, query: Query) -> dict[str, Any]:
    """Return the pictures that fit with their boxes, and the counts beside the filters.

    A picture fits if its name does, and it has a box that fits where classes or kinds are chosen.
    Predictions have to fit all filters. Objects of the ground truth are shown whatever the filters:
    an error is told by the object that it misses.

    Returns:
        "total", the number of pictures that fit; "counts" of "kinds", and of "objects" and
        "predictions" by class; "pictures" of this page.
    """
    if not pictures.has_predictions:  # nor does the page show kinds to choose from
        query = replace(query, kinds=frozenset())
    marks = _mark(pictures, query)
    weights = _weights(pictures, query, marks)
    fits = _fitting(pictures, query, marks)
    if query.order == "most":
        fits = fits[np.argsort(-weights[fits], kind="stable")]
    page = fits[query.start : query.start + query.limit].tolist()
    return {
        "total": len(fits),
        "counts": _count(pictures, query, marks),
        "pictures": [_describe(pictures, place, marks) for place in page],
    }


def describe_picture(pictures: PictureSet, place: int, query: Query) -> dict[str, Any]:
    """Return one picture with its boxes, whether it fits or not."""
    return _describe(pictures, place, _mark(pictures, query))


@dataclass(frozen=True)
class _Marks:
    """The detections (D,) and objects (T,) that fit each part of a query."""

    of_score: np.ndarray  # (D,)
    of_class: np.ndarray  # (D,)
    of_kind: np.ndarray  # (D,)
    states: np.ndarray  # (T,), `State`
    truth_of_class: np.ndarray  # (T,)

    @property
    def shown(self) -> np.ndarray:
        """The detections that fit, (D,)."""
        return self.of_score & self.of_class & self.of_kind

    @property
    def missed(self) -> np.ndarray:
        """The missed objects of the chosen classes, (T,)."""
        return (self.states == State.MISSED) & self.truth_of_class


def _mark(pictures: PictureSet, query: Query) -> _Marks:
    found, kinds = pictures.found, pictures.errors.kinds
    return _Marks(
        of_score=(found.scores >= query.low) & (found.scores <= query.high),
        of_class=_is_chosen(found.classes, query.classes),
        of_kind=_is_chosen(kinds, query.kinds),
        states=_states(pictures, query.low),
        truth_of_class=_is_chosen(pictures.truth.classes, query.classes),
    )


def _is_chosen(values: np.ndarray, chosen: frozenset[int]) -> np.ndarray:
    return np.isin(values, list(chosen)) if chosen else np.ones(len(values), dtype=bool)


def _states(pictures: PictureSet, low: float) -> np.ndarray:
    """Return what has become of the objects (T,) at a score threshold."""
    errors = pictures.errors
    states = np.full(len(errors.found_at), State.MISSED, dtype=np.int8)
    low = max(low, 0)  # below it is what nothing finds
    states[errors.excused_at >= low] = State.MISTAKEN
    states[errors.found_at >= low] = State.FOUND
    if not pictures.has_predictions:
        states[:] = State.UNKNOWN
    states[pictures.truth.is_crowd.astype(bool)] = State.CROWD
    return states


def _fitting(pictures: PictureSet, query: Query, marks: _Marks) -> np.ndarray:
    """Return the places of the pictures that fit, ascending."""
    wanted = query.text.casefold()
    fits = np.array([wanted in entry.name.casefold() for entry in pictures.pictures], dtype=bool)
    if query.classes or query.kinds:
        has_box = np.zeros(len(fits), dtype=bool)
        has_box[pictures.found_pictures[marks.shown]] = True
        if not query.kinds:
            has_box[pictures.truth_pictures[marks.truth_of_class]] = True
        elif Kind.MISSED in query.kinds:
            has_box[pictures.truth_pictures[marks.missed]] = True
        fits &= has_box
    return np.flatnonzero(fits)


def _weights(pictures: PictureSet, query: Query, marks: _Marks) -> np.ndarray:
    """Count what is wrong in each picture, or the objects where there are no predictions."""
    length = len(pictures.pictures)
    if not pictures.has_predictions:
        return np.bincount(pictures.truth_pictures[marks.truth_of_class], minlength=length)
    counted = marks.shown
    if not query.kinds:
        counted = counted & ~np.isin(pictures.errors.kinds, NO_ERRORS)
    weights = np.bincount(pictures.found_pictures[counted], minlength=length)
    if not query.kinds or Kind.MISSED in query.kinds:
        weights = weights + np.bincount(pictures.truth_pictures[marks.missed], minlength=length)
    return weights


def _count(pictures: PictureSet, query: Query, marks: _Marks) -> dict[str, list[int]]:
    """Count boxes by kind, and by class, each under the other filters."""
    in_classes = pictures.errors.kinds[marks.of_score & marks.of_class]
    kinds = np.bincount(in_classes, minlength=len(Kind))
    kinds[Kind.MISSED] = marks.missed.sum()
    length = len(pictures.class_names)
    of_kind = pictures.found.classes[marks.of_score & marks.of_kind]
    objects_of_kind = np.ones(len(marks.states), dtype=bool)
    if query.kinds:
        objects_of_kind = (marks.states == State.MISSED) & (Kind.MISSED in query.kinds)
    return {
        "kinds": kinds.tolist(),
        "objects": np.bincount(pictures.truth.classes[objects_of_kind], minlength=length).tolist(),
        "predictions": np.bincount(of_kind, minlength=length).tolist(),
    }


def _describe(pictures: PictureSet, place: int, marks: _Marks) -> dict[str, Any]:
    """Return a picture's name, size and boxes.

    "truth" has rows of x, y, x, y, class and `State`, "found" of x, y, x, y, class, score and
    `Kind`.
    """
    entry = pictures.pictures[place]
    truth, found = pictures.truth, pictures.found
    objects, detections = pictures.truth_of(place), pictures.found_in(place)
    shown = np.flatnonzero(marks.shown[detections]) + detections.start
    return {
        "id": place,
        "name": entry.name,
        "width": entry.width,
        "height": entry.height,
        "truth": [
            [*box, label, state]
            for box, label, state in zip(
                truth.boxes[objects].round(_DIGITS).tolist(),
                truth.classes[objects].tolist(),
                marks.states[objects].tolist(),
                strict=True,
            )
        ],
        "found": [
            [*box, label, score, kind]
            for box, label, score, kind in zip(
                found.boxes[shown].round(_DIGITS).tolist(),
                found.classes[shown].tolist(),
                found.scores[shown].round(_SCORE_DIGITS).tolist(),
                pictures.errors.kinds[shown].tolist(),
                strict=True,
            )
        ],
    }
