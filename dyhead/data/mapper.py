"""A dataset mapper that skips broken images in training and refuses them in evaluation."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dyhead.d2.config import CfgNode, configurable
from dyhead.d2.data import DatasetMapper
from dyhead.d2.data import transforms as T
from dyhead.d2.data.detection_utils import SizeMismatchError, check_image_size
from dyhead.d2.data.detection_utils import read_image as read_labels
from dyhead.d2.structures import BoxMode
from dyhead.data.augmentation import build_augmentation, least_visible_share
from dyhead.data.augmentations.visibility import visible_shares
from dyhead.data.reading import read_image
from dyhead.data.stream import BATCH_KEY
from dyhead.errors import UserError
from dyhead.picture_files import allow_pixels

_BROKEN_IMAGE = (OSError, SizeMismatchError)
_MAX_SKIPPED_IN_A_ROW = 100

logger = logging.getLogger(__name__)


class CheckedMapper(DatasetMapper):
    """Detectron2's mapper; images that can't be decoded are skipped in training only.

    A skipped image is replaced by another one by the host's loader and reported with a count (per
    loader process). Evaluation must see every image, so there it stops with the file's name.

    Images are read as `dyhead.picture_files` does, on either host.

    Args:
        is_train: see `DatasetMapper`, as for the other arguments.
        max_pixels: see `allow_pixels`.
        least_visible: share of a box that crops have to leave in training; 0: anything, as the host
            has it.
    """

    skipped = 0
    skipped_in_a_row = 0

    @configurable
    def __init__(
        self, is_train: bool, *, max_pixels: int = 0, least_visible: float = 0.0, **arguments: Any
    ) -> None:
        super().__init__(is_train, **arguments)
        self.max_pixels, self.least_visible = max_pixels, least_visible

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments: the host's, with the project's augmentation."""
        arguments = super().from_config(cfg, is_train)
        return {
            **arguments,
            "augmentations": build_augmentation(cfg, is_train),
            "max_pixels": cfg.INPUT.MAX_PIXELS,
            "least_visible": least_visible_share(cfg) if is_train else 0.0,
        }

    def __call__(self, dataset_dict: dict) -> dict | None:
        """Map one dataset dict to a model input, or to None for a broken image in training.

        Raises:
            UserError: a broken image in evaluation, or too many in a row in training.
        """
        try:
            mapped = self._map(dataset_dict)
        except _BROKEN_IMAGE as error:
            self._handle_broken(dataset_dict["file_name"], error)
            return None
        self.skipped_in_a_row = 0
        return mapped

    def _map(self, dataset_dict: dict) -> dict | None:
        """Map one dataset dict as the host does, with more for the augmentation to look at."""
        allow_pixels(self.max_pixels)  # here, for loader processes start with Pillow's limit
        annotations = dataset_dict.get("annotations")
        mapped = copy.deepcopy({k: v for k, v in dataset_dict.items() if k != "annotations"})
        image = read_image(mapped["file_name"], self.image_format)
        check_image_size(mapped, image)
        objects = [a for a in annotations or () if not a.get("iscrowd", 0)]
        aug_input: Any = T.AugInput(
            image,
            boxes=_corners(objects) if self.is_train else None,
            sem_seg=_read_pixel_labels(mapped) if self.is_train else None,
        )
        aug_input.batch_seed = mapped.pop(BATCH_KEY, None)  # for ResizeBatch
        transforms = self.augmentations(aug_input)
        image = np.atleast_3d(aug_input.image)  # a transform may drop the channel of "L"
        # A copy, since Pillow's arrays are read-only and flipped ones have negative strides.
        mapped["image"] = torch.from_numpy(image.transpose(2, 0, 1).copy())
        if aug_input.sem_seg is not None:
            mapped["sem_seg"] = torch.from_numpy(aug_input.sem_seg.astype(np.int64, order="C"))
        if self.is_train and annotations is not None:
            visible = self._visible(objects, aug_input)
            # Genuine Detectron2 would cut off transformed boxes of whole numbers to whole numbers.
            mapped["annotations"] = [{**a, "bbox": [float(v) for v in a["bbox"]]} for a in visible]
            self._transform_annotations(mapped, transforms, image.shape[:2])
        return mapped

    def _visible(self, objects: Sequence[dict], aug_input: T.AugInput) -> Sequence[dict]:
        """Leave out the objects of which the transforms have left too little in the image."""
        if not self.least_visible or not objects:
            return objects
        height, width = aug_input.image.shape[:2]
        shares = visible_shares(torch.from_numpy(aug_input.boxes), (0, 0, width, height))
        return [
            one for one, share in zip(objects, shares, strict=True) if share >= self.least_visible
        ]

    def _handle_broken(self, file_name: str, error: Exception) -> None:
        reason = " ".join(str(error).split()) or type(error).__name__
        if not self.is_train:
            raise UserError(
                f"The image {file_name} can't be read ({reason}): repair it or take it out of the"
                " data set, for evaluation needs every image."
            ) from error
        self.skipped += 1
        self.skipped_in_a_row += 1
        logger.warning(
            "Skipped the image %s, which can't be read (%s); %d skipped so far by this loader.",
            file_name,
            reason,
            self.skipped,
        )
        if self.skipped_in_a_row >= _MAX_SKIPPED_IN_A_ROW:
            raise UserError(
                f"{self.skipped_in_a_row} images in a row can't be read, the last being"
                f" {file_name} ({reason}): check the image folder."
            ) from error


def _read_pixel_labels(mapped: dict) -> np.ndarray | None:
    """Take the file of labels out of a dict, which panoptic sets have: (H, W) uint8."""
    file_name = mapped.pop("sem_seg_file_name", None)
    return None if file_name is None else read_labels(file_name, "L").squeeze(2)


def _corners(annotations: Sequence[dict]) -> np.ndarray:
    """Return the boxes of annotations, (N, 4) float64 XYXY in pixels."""
    boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in annotations]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)
