"""COCO's json of instances, read into dataset dicts and written from them."""

import json
import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask as mask_util

from dyhead.safe_io.json_text import write_json

from ...structures import BoxMode
from ...utils.file_io import PathManager
from ..catalog import DatasetCatalog, MetadataCatalog

logger = logging.getLogger("detectron2.data.datasets.coco")

Json = dict[str, Any]


def load_coco_json(
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[Json]:
    """Read COCO's json into one dict per image, in the order of the image ids.

    Args:
        json_file: COCO's format of instances: "images", "annotations" and "categories".
        image_root: the folder that the images' file names are relative to.
        dataset_name: gives this dataset's metadata the class names, in the order of the category
            ids, and the mapping from category ids to 0, 1, 2...; and maps "category_id" by it.
            None leaves the category ids as they are.
        extra_annotation_keys: keys of annotations to keep besides iscrowd, bbox, keypoints,
            category_id and segmentation.

    Returns:
        Dicts with file_name, height, width, image_id and annotations; boxes are XYWH in pixels.

    Raises:
        KeyError: an annotation's category is not among the file's categories.
        ValueError: the file is no such json, or a box is empty.
    """
    path = PathManager.get_local_path(os.fspath(json_file))
    content = _read_json(path)
    id_map = None
    if dataset_name is not None:
        id_map = _set_category_metadata(content.get("categories", []), path, dataset_name)
    images = _images_by_id(content["images"], path)
    annotations = _annotations_by_image(content.get("annotations", []), images, path)
    logger.info(f"{path}: {len(images)} images, {len(content.get('annotations', []))} annotations")

    keys = ("iscrowd", "bbox", "keypoints", "category_id", *(extra_annotation_keys or ()))
    records = []
    dropped = 0
    for image_id, image in sorted(images.items()):
        instances = [_instance(a, keys, id_map, path) for a in annotations[image_id]]
        kept = [instance for instance in instances if instance is not None]
        dropped += len(instances) - len(kept)
        records.append(
            {
                "file_name": os.path.join(image_root, image["file_name"]),
                "height": image["height"],
                "width": image["width"],
                "image_id": image_id,
                "annotations": kept,
            }
        )
    if dropped:
        logger.warning(
            f"Left out {dropped} instances of {path} whose polygons have fewer than three points."
        )
    return records


def _read_json(path: str) -> Json:
    if not PathManager.isfile(path):
        raise FileNotFoundError(
            f"{path} does not exist: check the path, or set DETECTRON2_DATASETS to the folder that"
            " holds the builtin datasets."
        )
    with PathManager.open(path, "r", encoding="utf-8") as file:
        try:
            content = json.load(file)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is no valid json: {error}.") from error
    if not isinstance(content, dict) or "images" not in content:
        raise ValueError(f"{path} is not in COCO's format: it has no list of 'images'.")
    return content


def _set_category_metadata(categories: list[Json], path: str, name: str) -> dict[int, int]:
    if not categories:
        raise ValueError(f"{path} has no 'categories': a dataset needs at least one.")
    categories = sorted(categories, key=lambda category: category["id"])
    ids = [category["id"] for category in categories]
    if ids != list(range(1, len(ids) + 1)) and "coco" not in name:
        logger.warning(
            f"Category ids in {path} are not 1 to {len(ids)}: they are mapped to 0, 1..."
        )
    id_map = {category_id: index for index, category_id in enumerate(ids)}
    metadata = MetadataCatalog.get(name)
    metadata.thing_classes = [category["name"] for category in categories]
    metadata.thing_dataset_id_to_contiguous_id = id_map
    return id_map


def _require_keys(entries: list[Json], keys: Sequence[str], kind: str, path: str) -> None:
    for entry in entries:
        missing = [key for key in keys if key not in entry]
        if missing:
            raise ValueError(f"{path}: the {kind} {entry} lacks {', '.join(missing)}.")


def _images_by_id(images: list[Json], path: str) -> dict[Any, Json]:
    _require_keys(images, ("id", "file_name", "width", "height"), "image", path)
    by_id = {image["id"]: image for image in images}
    if len(by_id) < len(images):
        raise ValueError(f"{path} has {len(images) - len(by_id)} images whose 'id' is used before.")
    return by_id


def _annotations_by_image(
    annotations: list[Json], images: dict[Any, Json], path: str
) -> dict[Any, list[Json]]:
    _require_keys(annotations, ("id", "image_id"), "annotation", path)
    by_image = defaultdict(list)
    for annotation in annotations:
        by_image[annotation["image_id"]].append(annotation)
    matched = [a for image_id in images for a in by_image[image_id]]
    if len(matched) < len(annotations):
        logger.warning(
            f"{path}: {len(annotations) - len(matched)} of {len(annotations)} annotations belong to"
            " images that are not in the file, and are left out."
        )
    # COCO 2014's minival files repeat ids, harmlessly.
    unique = len({annotation["id"] for annotation in matched})
    assert unique == len(matched) or "minival" in path, (
        f"Annotation ids in '{path}' are not unique: {len(matched) - unique} are used before."
    )
    return by_image


def _instance(
    annotation: Json, keys: Sequence[str], id_map: dict[int, int] | None, path: str
) -> Json | None:
    """One annotation as an instance; None if its polygons are all degenerate."""
    image_id = annotation["image_id"]
    assert not annotation.get("ignore", 0), f"{path}: 'ignore' of image {image_id} is unsupported."
    instance = {key: annotation[key] for key in keys if key in annotation}
    if "bbox" in instance and len(instance["bbox"]) == 0:
        raise ValueError(f"{path}: an annotation of image {image_id} has an empty 'bbox'.")
    instance["bbox_mode"] = BoxMode.XYWH_ABS
    if annotation.get("segmentation"):
        segmentation = _segmentation(annotation["segmentation"])
        if not segmentation:
            return None
        instance["segmentation"] = segmentation
    if annotation.get("keypoints"):
        instance["keypoints"] = _keypoints(annotation["keypoints"])
    if id_map is not None:
        category_id = annotation.get("category_id")
        if category_id not in id_map:
            raise KeyError(
                f"{path}: an annotation of image {image_id} has category_id={category_id}, which"
                f" is not among the file's categories {sorted(id_map)}."
            )
        instance["category_id"] = id_map[category_id]
    return instance


def _segmentation(segmentation: Any) -> Any:
    """Polygons of three points or more, or a compressed run-length code."""
    if isinstance(segmentation, dict):
        if isinstance(segmentation["counts"], list):
            return mask_util.frPyObjects(segmentation, *segmentation["size"])
        return segmentation
    return [polygon for polygon in segmentation if len(polygon) >= 6 and len(polygon) % 2 == 0]


def _keypoints(keypoints: list[float]) -> list[float]:
    # COCO's key points are indices of pixels; everything else is in continuous coordinates.
    return [v if i % 3 == 2 else v + 0.5 for i, v in enumerate(keypoints)]


def register_coco_instances(
    name: str, metadata: Json, json_file: str | os.PathLike, image_root: str | os.PathLike
) -> None:
    """Register a dataset in COCO's format; the json is read when the dataset is loaded.

    Args:
        name: the dataset's name in a config.
        metadata: further metadata; may be empty.
        json_file: see `load_coco_json`.
        image_root: see `load_coco_json`.
    """
    assert isinstance(name, str), f"A dataset's name must be a str, got {name!r}."
    for path in (json_file, image_root):
        assert isinstance(path, str | os.PathLike), f"Dataset {name}: {path!r} is no path."
    if name not in DatasetCatalog:
        DatasetCatalog.register(name, lambda: load_coco_json(json_file, image_root, name))
    MetadataCatalog.get(name).set(
        json_file=json_file, image_root=image_root, evaluator_type="coco", **metadata
    )


def convert_to_coco_dict(dataset_name: str) -> Json:
    """A registered dataset of boxes, and masks if any, in COCO's format.

    Its metadata needs "thing_classes". Category ids are the original ones, areas are those of the
    masks, or else of the boxes. Key points are left out.
    """
    records = DatasetCatalog.get(dataset_name)  # first: loading a json fills in the metadata
    metadata = MetadataCatalog.get(dataset_name)
    identity = {index: index for index in range(len(metadata.thing_classes))}
    id_map = metadata.get("thing_dataset_id_to_contiguous_id", identity)
    category_ids = {index: category_id for category_id, index in id_map.items()}
    images: list[Json] = []
    annotations: list[Json] = []
    for index, record in enumerate(records):
        image_id = record.get("image_id", index)
        images.append(
            {
                "id": image_id,
                "width": int(record["width"]),
                "height": int(record["height"]),
                "file_name": str(record["file_name"]),
            }
        )
        for instance in record.get("annotations", []):
            annotation = _coco_annotation(instance, category_ids)
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **annotation})
    return {
        "info": {"description": f"The dataset {dataset_name}, converted to COCO's format."},
        "licenses": [],
        "images": images,
        "categories": [
            {"id": category_ids[index], "name": name}
            for index, name in enumerate(metadata.thing_classes)
        ],
        "annotations": annotations,
    }


def _coco_annotation(instance: Json, category_ids: dict[int, int]) -> Json:
    bbox = np.asarray(instance["bbox"], dtype=float).tolist()
    if len(bbox) != 4:
        raise ValueError(f"A box must have 4 numbers, got {bbox}.")
    x, y, width, height = BoxMode.convert(bbox, instance["bbox_mode"], BoxMode.XYWH_ABS)
    annotation = {
        "bbox": [round(value, 3) for value in (x, y, width, height)],
        "area": width * height,
        "iscrowd": int(instance.get("iscrowd", 0)),
        "category_id": category_ids[int(instance["category_id"])],
    }
    if "segmentation" in instance:
        annotation["area"] = _mask_area(instance["segmentation"])
        annotation["segmentation"] = _writable(instance["segmentation"])
    return annotation


def _mask_area(segmentation: Any) -> float:
    if isinstance(segmentation, dict):
        return float(mask_util.area(_segmentation(segmentation)))
    return sum(_polygon_area(np.asarray(polygon).reshape(-1, 2)) for polygon in segmentation)


def _polygon_area(points: np.ndarray) -> float:
    x, y = points.T
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)


def _writable(segmentation: Any) -> Any:
    """The segmentation as json can hold it: pycocotools' run-length codes are bytes."""
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        text = counts.decode("ascii") if isinstance(counts, bytes) else counts
        return {"counts": text, "size": list(segmentation["size"])}
    return [np.asarray(polygon).reshape(-1).tolist() for polygon in segmentation]


def convert_to_coco_json(
    dataset_name: str, output_file: str | os.PathLike, allow_cached: bool = True
) -> None:
    """Write `convert_to_coco_dict(dataset_name)` to a file, atomically.

    With `allow_cached` an existing file is kept as it is.
    """
    output_file = os.fspath(output_file)
    if PathManager.exists(output_file) and allow_cached:
        logger.warning(
            f"Using the annotations cached in {output_file}: delete it if the dataset has changed."
        )
        return
    PathManager.mkdirs(os.path.dirname(output_file) or ".")
    write_json(convert_to_coco_dict(dataset_name), output_file)
