"""Checks what the usable annotations of a set mean: crowds, boxes drawn twice, empty categories."""

from collections.abc import Mapping, Sequence

from dyhead.data.checks import kinds
from dyhead.data.checks.items import annotation_item
from dyhead.data.checks.report import CheckReport
from dyhead.data.checks.values import Id

_MANY_CROWDS = 0.1  # of the annotations; COCO has 1 in 80


def check_objects(
    annotations: Sequence[dict],
    categories: Sequence[dict],
    images: Mapping[Id, dict],
    report: CheckReport,
) -> None:
    """Report what is meant otherwise more often than not, and change nothing.

    Args:
        annotations: usable.
        categories: with id and name.
        images: image id -> usable image.
        report: takes what is found.
    """
    _report_crowds(annotations, images, report)
    _report_same_boxes(annotations, images, report)
    _report_categories(annotations, categories, report)


def _report_crowds(
    annotations: Sequence[dict], images: Mapping[Id, dict], report: CheckReport
) -> None:
    # Those that are marked "ignore" are counted by their own name.
    crowds = [annotation for annotation in annotations if annotation["iscrowd"]]
    marked = len(crowds) - report.count(kinds.IGNORED_BOX)
    if not annotations or marked <= 0 or marked < _MANY_CROWDS * len(annotations):
        return
    report.evidence[kinds.MANY_CROWDS] = f"{len(crowds)} of {len(annotations)} annotations"
    for annotation in crowds:
        report.add(kinds.MANY_CROWDS, annotation_item(annotation, images))


def _report_same_boxes(
    annotations: Sequence[dict], images: Mapping[Id, dict], report: CheckReport
) -> None:
    drawn: dict[tuple, tuple] = {}  # image and box -> categories
    for annotation in annotations:
        place = (annotation["image_id"], *annotation["bbox"])
        category_id, known = annotation["category_id"], drawn.get(place, ())
        if category_id not in known:
            drawn[place] = (*known, category_id)
        if known:
            kind = kinds.SAME_BOX if category_id in known else kinds.SAME_BOX_OTHER_CLASS
            report.add(kind, annotation_item(annotation, images))


def _report_categories(
    annotations: Sequence[dict], categories: Sequence[dict], report: CheckReport
) -> None:
    with_boxes = {each["category_id"] for each in annotations if not each["iscrowd"]}
    by_name: dict[str, str] = {}
    for category in categories:
        name = category["name"]
        if with_boxes and category["id"] not in with_boxes:
            report.add(kinds.EMPTY_CATEGORY, repr(name))
        similar = by_name.setdefault(plain_name(name), name)
        if similar is not name:
            report.add(kinds.SIMILAR_CATEGORIES, f"{similar!r} and {name!r}")


def plain_name(name: str) -> str:
    """Return a class name without what is easily written differently: case, spaces, _ and -."""
    return "".join(name.casefold().replace("_", "").replace("-", "").split())
