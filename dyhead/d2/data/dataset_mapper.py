"""From a dataset dict to a model's input."""

import copy
import logging
from typing import Any

import numpy as np
import torch

from ..config import CfgNode, configurable
from . import detection_utils as utils
from . import transforms as T

logger = logging.getLogger("detectron2.data.dataset_mapper")


def _refuse(option: str) -> None:
    raise ValueError(
        f"{option} is set, but the embedded host handles boxes only: unset it, or install"
        " Detectron2 for masks, key points and precomputed proposals."
    )


class DatasetMapper:
    """Read an image, augment it and its boxes, and make the dict that a model takes.

    The result holds what the dataset dict held, and "image": a uint8 tensor (C, H, W). In training
    "annotations" become "instances": crowds and boxes without extent are left out. Otherwise
    "annotations" are dropped.

    Args:
        is_train: whether annotations are wanted.
        augmentations: augmentations or transforms, applied in this order.
        image_format: see `detection_utils.read_image`.
        use_instance_mask: must be False here, as the remaining arguments must keep their defaults;
            `instance_mask_format` is of no effect without masks.

    Raises:
        ValueError: masks, key points or proposals are asked for.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: list[T.Augmentation | T.Transform],
        image_format: str,
        use_instance_mask: bool = False,
        use_keypoint: bool = False,
        instance_mask_format: str = "polygon",
        keypoint_hflip_indices: np.ndarray | None = None,
        precomputed_proposal_topk: int | None = None,
        recompute_boxes: bool = False,
    ) -> None:
        unsupported = {
            "use_instance_mask (MODEL.MASK_ON)": use_instance_mask,
            "use_keypoint (MODEL.KEYPOINT_ON)": use_keypoint,
            "keypoint_hflip_indices": keypoint_hflip_indices is not None,
            "precomputed_proposal_topk (MODEL.LOAD_PROPOSALS)": precomputed_proposal_topk,
            "recompute_boxes": recompute_boxes,
        }
        for option, is_set in unsupported.items():
            if is_set:
                _refuse(option)
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.instance_mask_format = instance_mask_format
        # Subclasses that repeat parts of Detectron2's code read these.
        self.use_instance_mask = self.use_keypoint = self.recompute_boxes = False
        self.keypoint_hflip_indices = self.proposal_topk = None
        mode = "training" if is_train else "inference"
        logger.info(f"[DatasetMapper] Augmentations used in {mode}: {augmentations}")

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """The constructor's arguments: INPUT's augmentations and format."""
        augmentations = utils.build_augmentation(cfg, is_train)
        if is_train and cfg.INPUT.CROP.ENABLED:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        if cfg.MODEL.LOAD_PROPOSALS:
            _refuse("MODEL.LOAD_PROPOSALS")
        return {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
            "use_instance_mask": cfg.MODEL.MASK_ON,
            "use_keypoint": cfg.MODEL.KEYPOINT_ON,
            "instance_mask_format": cfg.INPUT.MASK_FORMAT,
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any] | None:
        """Map one dataset dict, which itself stays as it is.

        Raises:
            SizeMismatchError: the image's size differs from the dict's.
        """
        annotations = dataset_dict.get("annotations")
        dataset_dict = {k: v for k, v in dataset_dict.items() if k != "annotations"}
        dataset_dict = copy.deepcopy(dataset_dict)
        image = utils.read_image(dataset_dict["file_name"], format=self.image_format)
        utils.check_image_size(dataset_dict, image)

        aug_input = T.AugInput(image)
        transforms = self.augmentations(aug_input)
        image = aug_input.image
        if image.ndim == 2:  # "L" after a transform that drops the channel, or a PIL mode of one
            image = image[:, :, None]
        # A copy, since PIL's arrays are read-only and flipped ones have negative strides.
        dataset_dict["image"] = torch.from_numpy(image.transpose(2, 0, 1).copy())

        if self.is_train and annotations is not None:
            dataset_dict["annotations"] = [{**each} for each in annotations]  # may be changed
            self._transform_annotations(dataset_dict, transforms, image.shape[:2])
        return dataset_dict

    def _transform_annotations(
        self,
        dataset_dict: dict[str, Any],
        transforms: T.TransformList,
        image_shape: tuple[int, int],
    ) -> None:
        """Replace "annotations" by "instances"; subclasses may do it otherwise."""
        annotations = [
            _without_masks(a) for a in dataset_dict.pop("annotations") if not a.get("iscrowd", 0)
        ]
        instances = utils.transform_annotations(annotations, transforms, image_shape)
        dataset_dict["instances"] = utils.filter_empty_instances(instances)


def _without_masks(annotation: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in annotation.items() if k not in ("segmentation", "keypoints")}
