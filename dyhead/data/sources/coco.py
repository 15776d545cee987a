"""Reads a COCO instances json: its structure and its categories are checked, nothing else."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from dyhead.data.checks.report import CheckReport
from dyhead.data.checks.values import read_id
from dyhead.data.sources.json_file import read_json
from dyhead.data.sources.picture_names import image_folder
from dyhead.data.sources.source import Source
from dyhead.errors import UserError

_LISTS = ("images", "annotations", "categories")


def read_coco_source(json_file: Path, image_root: Path | None) -> Source:
    """Read a COCO json with its image folder: by default one near it that has the first images.

    Raises:
        UserError: as for `read_coco`.
    """
    content = read_coco(json_file)
    root = image_root or _find_image_folder(json_file, content["images"])
    return Source("COCO json", json_file, root, content, CheckReport(str(json_file)), True)


def _find_image_folder(json_file: Path, images: list) -> Path:
    """Return the folder beside or above a json in which its first images are; else its own."""
    folder, end = json_file.parent, json_file.stem.rpartition("_")[2]  # instances_val2017, val2017
    first = [image.get("file_name") for image in images[:20] if isinstance(image, dict)]
    names = [name for name in first if isinstance(name, str) and name]
    candidates = [folder, image_folder(folder), folder.parent, image_folder(folder.parent)]
    candidates += [folder / end, folder.parent / end]
    counts = [sum(os.path.isfile(each / name) for name in names) for each in candidates]
    return candidates[counts.index(max(counts))]


def read_coco(json_file: Path) -> dict[str, Any]:
    """Read a COCO instances json and check its structure and its categories only.

    The list "annotations" of a set without one is empty.

    Raises:
        UserError: the file is missing, is no json, or is not in COCO's format.
    """
    if not json_file.exists():
        raise UserError(
            f"{json_file} does not exist: correct its path (relative ones start at the working"
            " folder; those in DATASETS.SOURCES and COCO_JSON also at DETECTRON2_DATASETS)."
        )
    coco = read_json(json_file)
    if isinstance(coco, list) and coco and isinstance(coco[0], dict) and "score" in coco[0]:
        raise UserError(
            f"{json_file} is not in COCO's instances format, for it is a list of detections: name"
            " the file that has 'images', 'annotations' and 'categories'."
        )
    if isinstance(coco, dict):  # a set to predict on, such as a challenge's, has no annotations
        coco.setdefault("annotations", [])
    for key in _LISTS:
        if not isinstance(coco, dict) or not isinstance(coco.get(key), list):
            raise UserError(
                f"{json_file} is not in COCO's instances format, for it has no list '{key}':"
                " export an object with the lists 'images', 'annotations' and 'categories'."
            )
    _check_categories(json_file, coco["categories"])
    return coco


def _check_categories(json_file: Path, categories: list) -> None:
    if not categories:
        raise UserError(f"{json_file} names no categories: list them under 'categories'.")
    for category in categories:
        if (
            not isinstance(category, dict)
            or read_id(category.get("id")) is None
            or not isinstance(category.get("name"), str)
        ):
            raise UserError(
                f"{json_file} has the category {str(category)[:80]}: give it an 'id' and a 'name'"
                " (the id a whole number or text, the name text)."
            )
    values = {
        "id": Counter(str(read_id(category["id"])) for category in categories),
        "name": Counter(category["name"] for category in categories),
    }
    for key, counts in values.items():
        repeated = sorted(value for value, count in counts.items() if count > 1)
        if repeated:
            raise UserError(
                f"{json_file} has several categories with the {key} {', '.join(repeated)}: make"
                " them one, or tell them apart."
            )
