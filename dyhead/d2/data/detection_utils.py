"""Reading images and turning annotations into what a detector trains on."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from dyhead.picture_files import read_upright

from ..config import CfgNode
from ..structures import Boxes, BoxMode, Instances
from ..utils.file_io import PathManager
from . import transforms as T
from .catalog import MetadataCatalog

logger = logging.getLogger("detectron2.data.detection_utils")

_FLIPS = ("horizontal", "vertical", "none")


class SizeMismatchError(ValueError):
    """An image's real size differs from the one in its annotations."""


def convert_PIL_to_numpy(image: Image.Image, format: str | None) -> np.ndarray:
    """Convert a PIL image to an (H, W, C) array.

    `format` is "BGR", a mode of PIL, or None to keep the image's own; "L" gives C = 1.
    """
    if format is not None:
        mode = "RGB" if format == "BGR" else format
        image = image if image.mode == mode else image.convert(mode)  # which would copy it
    array = np.asarray(image)
    if format == "BGR":
        return array[:, :, ::-1]
    return array[:, :, None] if format == "L" else array


def convert_image_to_rgb(image: Any, format: str) -> np.ndarray:
    """Convert an (H, W, C) array or tensor of values from 0 to 255 to RGB.

    Args:
        image: of any type for "BGR", which stays; otherwise its values are truncated to uint8.
        format: as for `read_image`.
    """
    array = image.cpu().numpy() if isinstance(image, torch.Tensor) else image
    if format == "BGR":
        return array[:, :, ::-1]
    array = array.astype(np.uint8)
    return np.asarray(Image.fromarray(array[:, :, 0] if format == "L" else array).convert("RGB"))


def read_image(file_name: str, format: str | None = None) -> np.ndarray:
    """Read an image, turned upright where its EXIF says how.

    Other than genuine Detectron2, which clips them, it scales pixels of more than 8 bits to 8.

    Args:
        file_name: path of the image.
        format: "BGR", a mode of PIL such as "RGB" or "L", or None for the image's own.

    Returns:
        An (H, W, C) array, uint8 for "BGR", "RGB" and "L".

    Raises:
        OSError: it cannot be read.
    """
    image = read_upright(PathManager.get_local_path(file_name), keep_depth=format is None)
    return convert_PIL_to_numpy(image, format)


def check_image_size(dataset_dict: dict[str, Any], image: np.ndarray) -> None:
    """Check an image against its dict's "width" and "height", and fill in what is missing there.

    Raises:
        SizeMismatchError: the sizes differ.
    """
    height, width = image.shape[:2]
    expected = (dataset_dict.get("width", width), dataset_dict.get("height", height))
    if (width, height) != expected:
        raise SizeMismatchError(
            f"Image {dataset_dict.get('file_name', '')} has (width, height) {(width, height)}, but"
            f" its annotation says {expected}: correct the width and height there."
        )
    dataset_dict.setdefault("width", width)
    dataset_dict.setdefault("height", height)


def _refuse_unsupported(annotation: dict[str, Any]) -> None:
    for key in ("segmentation", "keypoints"):
        if key in annotation:
            raise ValueError(
                f"An annotation holds '{key}', but the embedded host handles boxes only: remove it"
                " first, as DatasetMapper does, or install Detectron2."
            )


def transform_instance_annotations(
    annotation: dict[str, Any],
    transforms: T.Transform | Sequence[T.Transform],
    image_size: tuple[int, int],
    *,
    keypoint_hflip_indices: np.ndarray | None = None,
) -> dict[str, Any]:
    """Transform one instance's box and clip it to the image, in place.

    Args:
        annotation: holds "bbox" and "bbox_mode"; the result is XYXY in pixels of the new image.
        transforms: what was applied to the image.
        image_size: (height, width) of the transformed image.
        keypoint_hflip_indices: must be None, there are no key points here.

    Raises:
        ValueError: the annotation holds a mask or key points.
    """
    _refuse_unsupported(annotation)
    if keypoint_hflip_indices is not None:
        raise ValueError("keypoint_hflip_indices: the embedded host has no key points; pass None.")
    if isinstance(transforms, Sequence):
        transforms = T.TransformList(list(transforms))
    box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
    # As floats: transforms work in place, and integer boxes would be truncated at each step.
    box = transforms.apply_box(np.array([box], dtype=np.float64))[0]
    height, width = image_size
    annotation["bbox"] = box.clip(min=0, max=[width, height, width, height])
    annotation["bbox_mode"] = BoxMode.XYXY_ABS
    return annotation


def annotations_to_instances(
    annos: Sequence[dict[str, Any]], image_size: tuple[int, int], mask_format: str = "polygon"
) -> Instances:
    """Collect the annotations of one image.

    Args:
        annos: one dict per instance, with "bbox", "bbox_mode" and "category_id".
        image_size: (height, width).
        mask_format: "polygon"; there are no masks here.

    Returns:
        Instances with gt_boxes (XYXY in pixels) and gt_classes (int64), for no annotations too.

    Raises:
        ValueError: an annotation holds a mask or key points.
    """
    for annotation in annos:
        _refuse_unsupported(annotation)
    if mask_format not in ("polygon", "bitmask"):
        raise ValueError(f"mask_format must be 'polygon' or 'bitmask', got {mask_format!r}.")
    boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annos]
    classes = [int(a["category_id"]) for a in annos]
    instances = Instances(image_size)
    instances.gt_boxes = Boxes(torch.as_tensor(np.array(boxes, dtype=np.float32)))
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    return instances


def transform_annotations(
    annos: Sequence[dict[str, Any]], transforms: T.TransformList, image_size: tuple[int, int]
) -> Instances:
    """The instances of one image after its transforms.

    The same as `annotations_to_instances` of what `transform_instance_annotations` makes of each
    annotation, but all boxes together: one by one they take longer than decoding a small image.

    Args:
        annos: as for `annotations_to_instances`; they stay as they are.
        transforms: what was applied to the image.
        image_size: (height, width) of the transformed image.
    """
    if len({(anno["bbox_mode"], len(anno["bbox"])) for anno in annos}) != 1:
        # None, or boxes of several kinds.
        single = [transform_instance_annotations({**a}, transforms, image_size) for a in annos]
        return annotations_to_instances(single, image_size)
    for annotation in annos:
        _refuse_unsupported(annotation)
    boxes = np.array([anno["bbox"] for anno in annos])
    boxes = BoxMode.convert(boxes, annos[0]["bbox_mode"], BoxMode.XYXY_ABS).astype(np.float64)
    height, width = image_size
    instances = Instances(image_size)
    instances.gt_boxes = Boxes(
        transforms.apply_box(boxes).clip(min=0, max=[width, height, width, height])
    )
    instances.gt_classes = torch.tensor([int(a["category_id"]) for a in annos], dtype=torch.int64)
    return instances


def filter_empty_instances(
    instances: Instances,
    by_box: bool = True,
    by_mask: bool = True,
    box_threshold: float = 1e-5,
    return_mask: bool = False,
) -> Any:
    """Leave out instances without extent.

    Args:
        instances: with gt_boxes.
        by_box: leave out boxes whose width or height is at most `box_threshold` pixels.
        by_mask: leave out instances whose gt_masks are empty, where there are masks.
        box_threshold: in pixels.
        return_mask: also return which instances were kept, a bool tensor.
    """
    assert by_box or by_mask, "filter_empty_instances needs by_box or by_mask."
    keep = torch.ones(len(instances), dtype=torch.bool)
    if by_box:
        keep = keep & instances.gt_boxes.nonempty(threshold=box_threshold)
    if by_mask and instances.has("gt_masks"):
        keep = keep & instances.gt_masks.nonempty()
    return (instances[keep], keep) if return_mask else instances[keep]


def check_metadata_consistency(key: str, dataset_names: Sequence[str]) -> None:
    """Check that the metadata `key` is the same for all datasets.

    Raises:
        AttributeError: a dataset has no such metadata.
        ValueError: two datasets differ.
    """
    values = {name: getattr(MetadataCatalog.get(name), key) for name in dataset_names}
    for name, value in values.items():
        first_name, first = next(iter(values.items()))
        if value != first:
            raise ValueError(
                f"Datasets used together need the same metadata '{key}', but {first_name} has"
                f" {first!r} and {name} has {value!r}."
            )


def build_augmentation(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """The resize, and in training the flip, that cfg.INPUT asks for."""
    if not is_train:
        return [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")]
    flip = cfg.INPUT.RANDOM_FLIP
    if flip not in _FLIPS:
        raise ValueError(f"INPUT.RANDOM_FLIP must be one of {', '.join(_FLIPS)}, got {flip!r}.")
    augmentations: list[T.Augmentation] = [
        T.ResizeShortestEdge(
            cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING
        )
    ]
    if flip != "none":
        augmentations.append(
            T.RandomFlip(horizontal=flip == "horizontal", vertical=flip == "vertical")
        )
    return augmentations


build_transform_gen = build_augmentation  # its older name
