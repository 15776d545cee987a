"""Checks a COCO json against itself and its image files before anything is trained on it.

A single bad item is repaired or left out, counted and named. A file that is no COCO json, or of
which nothing usable is left, is refused.
"""

import json
from pathlib import Path
from typing import Any

from dyhead.data.annotation_checks import check_annotations
from dyhead.data.check_report import CheckReport
from dyhead.data.image_checks import check_images, is_image
from dyhead.errors import UserError


def read_coco(json_file: Path) -> dict[str, Any]:
    """Read a COCO instances json and check its structure and its categories only.

    Raises:
        UserError: the file is missing, is no json, or is not in COCO's format.
    """
    try:
        coco = json.loads(json_file.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"{json_file} does not exist: correct its path in DATASETS.COCO_JSON (relative paths"
            " start at the working folder or at DETECTRON2_DATASETS)."
        ) from error
    except OSError as error:
        raise UserError(f"{json_file} can't be read ({error.strerror}).") from error
    except ValueError as error:
        raise UserError(f"{json_file} is no valid json file ({error}): export it anew.") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(coco, dict) or not isinstance(coco.get(key), list):
            raise UserError(
                f"{json_file} is not in COCO's instances format, for it has no list '{key}':"
                " export an object with the lists 'images', 'annotations' and 'categories'."
            )
    _check_categories(json_file, coco["categories"])
    _check_id_types(json_file, "images", [i["id"] for i in coco["images"] if is_image(i)])
    return coco


def check_coco(
    coco: dict[str, Any], json_file: Path, image_root: Path
) -> tuple[dict[str, Any], CheckReport]:
    """Check what `read_coco` gave, box by box and image by image.

    Boxes are COCO's (x, y, width, height) in pixels. Crowd annotations stay crowd annotations.

    Returns:
        A checked copy that COCO's own tools can read, and what was found.

    Raises:
        UserError: the image folder is missing, or no image or no annotation is left.
    """
    if not image_root.is_dir():
        raise UserError(
            f"{image_root}, the image folder of {json_file}, does not exist: correct it in"
            " DATASETS.COCO_JSON ([name, json, image folder])."
        )
    report = CheckReport(str(json_file))
    images = check_images(coco["images"], image_root, report)
    lost_images = {image["id"] for image in coco["images"] if is_image(image)} - images.keys()
    category_ids = {category["id"] for category in coco["categories"]}
    annotations = check_annotations(coco["annotations"], images, lost_images, category_ids, report)
    boxes = [annotation for annotation in annotations if not annotation["iscrowd"]]
    for key, left in (("images", images), ("annotations", boxes)):
        if not left:
            raise UserError(f"{json_file} has no usable {key}: correct the file. {report}")
    report.completed |= "info" not in coco  # pycocotools copies it into every result
    checked = {"info": {}, **coco, "images": list(images.values()), "annotations": annotations}
    return checked, report


def _check_id_types(json_file: Path, key: str, ids: list) -> None:
    """Refuse ids of several types, which could not be sorted: all are whole numbers or all text."""
    if {type(value) for value in ids} not in (set(), {int}, {str}):
        raise UserError(
            f"{json_file} has {key} with text and with numbers for ids, or with neither: use whole"
            " numbers for all, in its annotations too."
        )


def _check_categories(json_file: Path, categories: list) -> None:
    if not categories:
        raise UserError(f"{json_file} names no categories: list them under 'categories'.")
    for category in categories:
        if (
            not isinstance(category, dict)
            or "id" not in category
            or not isinstance(category.get("name"), str)
        ):
            raise UserError(
                f"{json_file} has the category {category!r}: give it an 'id' and a 'name' in text."
            )
    _check_id_types(json_file, "categories", [category["id"] for category in categories])
    for key in ("id", "name"):
        values = [category[key] for category in categories]
        repeated = sorted({str(value) for value in values if values.count(value) > 1})
        if repeated:
            raise UserError(
                f"{json_file} has several categories with the {key} {', '.join(repeated)}: make"
                " them one, or tell them apart."
            )
