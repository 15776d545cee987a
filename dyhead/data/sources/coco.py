"""Reads a COCO instances json: its structure and its categories are checked, nothing else."""

import json
from pathlib import Path
from typing import Any

from dyhead.data.checks.images import is_image
from dyhead.errors import UserError


def read_coco(json_file: Path) -> dict[str, Any]:
    """Read a COCO instances json and check its structure and its categories only.

    A set without ground truth has no list "annotations".

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
        if key == "annotations" and isinstance(coco, dict) and key not in coco:
            continue  # a set to predict on, such as a challenge's test set
        if not isinstance(coco, dict) or not isinstance(coco.get(key), list):
            raise UserError(
                f"{json_file} is not in COCO's instances format, for it has no list '{key}':"
                " export an object with the lists 'images', 'annotations' and 'categories'."
            )
    _check_categories(json_file, coco["categories"])
    _check_id_types(json_file, "images", [i["id"] for i in coco["images"] if is_image(i)])
    return coco


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
