"""Places the labels of a picture in the page as those of drawn pictures are placed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dyhead.evaluation.measures.matching import FOREGROUND
from dyhead.viewer.selection import State
from dyhead.visualization.boxes import DrawnBox, lay_out_labels, visible_boxes

_NO_COLOR = (0, 0, 0)  # the page knows the colours of classes
_LABELLED = (State.MISSED, State.MISTAKEN, State.UNKNOWN)  # others have a prediction's label


def lay_out(
    described: Mapping[str, Any], class_names: Sequence[str], width: int
) -> list[dict[str, Any]]:
    """Place the labels of a picture.

    Args:
        described: the picture with its boxes, from `dyhead.viewer.selection`.
        class_names: by class index.
        width: of the picture in the page, in pixels.

    Returns:
        "left", "top", "width" and "height" of each label in pixels of the page, its "text", the
        size of its "font", and the "class" whose colours it has.
    """
    zoom = width / described["width"]
    size = (width, max(round(described["height"] * zoom), 1))
    rows = [
        (drawn, area, label)
        for box, label, name, score in _rows(described, class_names)
        for drawn, area in visible_boxes([DrawnBox(box, _NO_COLOR, name, score)], zoom, size)
    ]
    layout = lay_out_labels([(drawn, area) for drawn, area, _ in rows], size)
    return [
        {
            "left": place.left,
            "top": place.top,
            "width": place.right - place.left,
            "height": place.bottom - place.top,
            "text": text,
            "font": layout.font.size,
            "class": label,
        }
        for (_, _, label), text, place in zip(rows, layout.texts, layout.places, strict=True)
        if place is not None
    ]


def _rows(
    described: Mapping[str, Any], class_names: Sequence[str]
) -> Iterator[tuple[Any, int, str, float | None]]:
    """Yield box, class, name and score of all that no label may hide, the most important first."""
    objects = np.array([row[:4] for row in described["truth"] if row[5] != State.CROWD])
    for *box, label, score, _ in described["found"]:
        yield _with_its_object(np.array(box), objects), label, class_names[label], score
    for *box, label, state in described["truth"]:
        yield box, label, class_names[label] if state in _LABELLED else "", None


def _with_its_object(box: np.ndarray, objects: np.ndarray) -> list[float]:
    """Surround a prediction, XYXY, and the one of the objects (T, 4) that it finds, if any.

    A label that lies right beside the smaller of the two would lie on the other.
    """
    if not len(objects):
        return box.tolist()
    left_top, right_bottom = np.maximum(box, objects)[:, :2], np.minimum(box, objects)[:, 2:]
    common = (right_bottom - left_top).clip(min=0).prod(axis=1)
    areas = (objects[:, 2:] - objects[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    overlaps = common / np.maximum(areas - common, 1e-9)
    best = int(overlaps.argmax())
    if overlaps[best] < FOREGROUND:
        return box.tolist()
    first, second = np.minimum(box, objects[best])[:2], np.maximum(box, objects[best])[2:]
    return [*first.tolist(), *second.tolist()]
