"""Checks a COCO json against itself and its image files before anything is trained on it.

A single bad item is repaired or left out, counted and named. So is it if nothing usable is left,
which training and evaluation refuse.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dyhead.data.checks import kinds
from dyhead.data.checks.annotations import check_annotations
from dyhead.data.checks.identifiers import read_entries, with_exact_ids
from dyhead.data.checks.images import Progress, check_images, is_image
from dyhead.data.checks.objects import check_objects
from dyhead.data.checks.report import CheckReport, Item
from dyhead.data.checks.turned_labels import turn_labels
from dyhead.data.checks.values import Id
from dyhead.errors import UserError

# of other formats: why a reader found no image to list
_LOSE_IMAGES = (kinds.DAMAGED_LABEL_FILE, kinds.LABEL_WITHOUT_IMAGE, kinds.UNLABELLED_IMAGE)


def check_coco(
    coco: dict[str, Any],
    json_file: Path,
    image_root: Path,
    progress: Progress | None = None,
    allow_outside: bool = False,
    report: CheckReport | None = None,
) -> tuple[dict[str, Any], CheckReport]:
    """Check what `read_coco` gave, box by box and image by image.

    Boxes are COCO's (x, y, width, height) in pixels. Crowd annotations stay crowd annotations.

    Args:
        coco: images, annotations and categories; not changed.
        json_file: the file or folder that they come from, for messages.
        image_root: the image folder.
        progress: called now and then with the number of image files that were looked at, and of
            all.
        allow_outside: read files that lie outside the image folder.
        report: has what was found in reading, and takes what is found here; by default a new one.

    Returns:
        A checked copy that COCO's own tools can read, and what was found. Its list of annotations
        is empty, or of crowds alone, where the source's is, or where nothing usable is left
        (`refuse_unusable`). Where ids were numbered, its "original_ids" has the source's
        (`identifiers.restore_ids` brings them back).

    Raises:
        UserError: the image folder is missing.
    """
    if not image_root.is_dir():
        raise UserError(
            f"{image_root}, the image folder of {json_file}, does not exist: correct it in"
            " DATASETS.SOURCES or DATASETS.COCO_JSON ([name, path, image folder])."
        )
    report = CheckReport(str(json_file)) if report is None else report
    entries, written_images = read_entries(coco["images"], report)
    categories, written_categories = read_entries(coco["categories"], report)
    checked_images = check_images(entries, image_root, report, progress, allow_outside)
    images = checked_images.by_id
    lost_images = {image["id"] for image in entries if is_image(image)} - images.keys()
    category_ids = {category["id"] for category in categories}
    listed = coco["annotations"]
    turned = turn_labels(listed, checked_images.turns)
    annotations, original_ids = check_annotations(turned, images, lost_images, category_ids, report)
    check_objects(annotations, categories, images, report)
    if not images:
        report.add(kinds.NOTHING_USABLE, _nothing_usable("images", coco["images"], report))
    elif not has_objects(annotations) and len(annotations) < len(listed):
        report.add(kinds.NOTHING_USABLE, _nothing_usable("annotations", listed, report))
    report.completed |= "info" not in coco  # pycocotools copies it into every result
    lists = {"images": list(images.values()), "annotations": annotations, "categories": categories}
    written: dict[str, Mapping[Any, Id]] = {
        "images": written_images,
        "categories": written_categories,
        "annotations": original_ids,
    }
    return with_exact_ids({"info": {}, **coco, **lists}, written, report), report


def has_objects(annotations: Iterable[Mapping[str, Any]]) -> bool:
    """Tell if an annotation can be learnt and scored: one that is no crowd."""
    return any(not annotation.get("iscrowd") for annotation in annotations)


def refuse_unusable(report: CheckReport) -> None:
    """Refuse a set of which `check_coco` found that nothing usable is left.

    Raises:
        UserError: it is, with all that was found.
    """
    for item in report.findings.get(kinds.NOTHING_USABLE, []):
        raise UserError(f"{item.description}.\n{report}")


def _nothing_usable(key: str, listed: list, report: CheckReport) -> Item:
    if not listed and not any(kind in report.findings for kind in _LOSE_IMAGES):
        return Item(f"{report.source} lists no {key}: name its pictures under '{key}'")
    return Item(f"{report.source} has no usable {key}: correct the file")
