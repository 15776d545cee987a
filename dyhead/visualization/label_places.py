"""Places for labels: where they hide nothing small, the least of what is large, and no label."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_MAX_COVERED = 0.125  # of the picture's area, by all labels together
_SMALL = 4  # times a label's area: objects below it are not hidden, others by a quarter at most
_LESS_USUAL = 0.03  # what a place costs more than the one before it in `_candidates`


class Rectangle(NamedTuple):
    """Whole pixels: `right` and `bottom` are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int


def place_labels(
    boxes: Sequence[Rectangle],
    sizes: Sequence[tuple[int, int] | None],
    picture_size: tuple[int, int],
) -> list[Rectangle | None]:
    """Choose a place for the label of each box, one after the other.

    Args:
        boxes: within the picture, the most important first.
        sizes: (width, height) of their labels, None for a box without one.
        picture_size: (width, height).

    Returns:
        One place for each box, within the picture; None where there is no label, or no place that
        is free of small objects and of the labels before it, or where the labels would cover too
        much of the picture.
    """
    objects = np.array(boxes, dtype=np.int64).reshape(-1, 4)
    places: list[Rectangle | None] = []
    taken = np.zeros((0, 4), dtype=np.int64)
    room = _MAX_COVERED * picture_size[0] * picture_size[1]
    for box, size in zip(boxes, sizes, strict=True):
        place = None
        if size is not None and (not len(taken) or size[0] * size[1] <= room):
            place = _best_place(box, size, picture_size, objects, taken)
        if place is not None:
            room -= (place.right - place.left) * (place.bottom - place.top)
            taken = np.concatenate([taken, np.array([place])])
        places.append(place)
    return places


def _best_place(
    box: Rectangle,
    size: tuple[int, int],
    picture_size: tuple[int, int],
    objects: np.ndarray,
    taken: np.ndarray,
) -> Rectangle | None:
    """Return the free candidate that hides the least of the objects, relative to their sizes."""
    candidates = _candidates(box, size, picture_size)  # (K, 4)
    if not len(candidates):
        return None
    areas = (objects[:, 2] - objects[:, 0]) * (objects[:, 3] - objects[:, 1])
    hidden = _overlaps(candidates, objects)
    cost = (hidden / areas).sum(axis=1) + _LESS_USUAL * np.arange(len(candidates))
    is_small = areas < _SMALL * size[0] * size[1]
    cost[(hidden[:, is_small] > 0).any(axis=1)] = np.inf
    cost[(_overlaps(candidates, taken) > 0).any(axis=1)] = np.inf
    best = int(cost.argmin())
    return Rectangle(*candidates[best].tolist()) if np.isfinite(cost[best]) else None


def _candidates(box: Rectangle, size: tuple[int, int], picture_size: tuple[int, int]) -> np.ndarray:
    """Return rectangles (16, 4) around and in a box, the most usual first; none if too large."""
    (width, height), (picture_width, picture_height) = size, picture_size
    if width > picture_width or height > picture_height:
        return np.zeros((0, 4), dtype=np.int64)
    left, top, right, bottom = box
    middle_x, middle_y = (left + right - width) // 2, (top + bottom - height) // 2
    corners = np.array(
        [
            (left, top - height),  # above
            (left, bottom),  # below
            (right - width, top - height),
            (right - width, bottom),
            (left, top),  # inside
            (left, bottom - height),
            (right, top),  # beside
            (left - width, top),
            (right, bottom - height),
            (left - width, bottom - height),
            (middle_x, top - height),
            (middle_x, bottom),
            (right, middle_y),
            (left - width, middle_y),
            (right - width, top),  # inside
            (right - width, bottom - height),
        ]
    )
    corners = corners.clip(min=0, max=[picture_width - width, picture_height - height])
    return np.concatenate([corners, corners + [width, height]], axis=1)


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Count the common pixels of rectangles (N, 4) and (M, 4): (N, M)."""
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return (bottom_right - top_left).clip(min=0).prod(axis=2)
