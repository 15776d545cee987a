"""The ids in a data set's file, where the host has other numbers for them.

The host is given numbers that COCO's tools handle exactly (`dyhead.data.checks.identifiers`). What
is written for the user has the ids of the user's file.
"""

from collections.abc import Mapping
from typing import Any

from dyhead.d2.data import MetadataCatalog
from dyhead.data.checks.values import Id


def original_image_ids(dataset_name: str) -> Mapping[int, Id]:
    """Return the file's id by the host's, of those images of a loaded set that have two."""
    return MetadataCatalog.get(dataset_name).get("original_image_ids", {})


def original_category_ids(dataset_name: str) -> Mapping[int, Id]:
    """Return the file's id by the host's, of those categories of a loaded set that have two."""
    return MetadataCatalog.get(dataset_name).get("original_category_ids", {})


def lost_images(dataset_name: str) -> Mapping[Id, str]:
    """Return the file's id -> what is wrong, of images that a loaded set leaves out for that."""
    return MetadataCatalog.get(dataset_name).get("lost_images", {})


def with_original_ids(results: list[dict[str, Any]], dataset_name: str) -> list[dict[str, Any]]:
    """Return detections in COCO's result format with the ids of the data set's file."""
    images, categories = original_image_ids(dataset_name), original_category_ids(dataset_name)
    return [
        {
            **each,
            "image_id": images.get(each["image_id"], each["image_id"]),
            "category_id": categories.get(each["category_id"], each["category_id"]),
        }
        for each in results
    ]
