"""A dataset mapper that skips broken images in training and refuses them in evaluation."""

import logging
from typing import Any

from PIL import Image

from dyhead.d2.config import CfgNode
from dyhead.d2.data import DatasetMapper
from dyhead.d2.data.detection_utils import SizeMismatchError
from dyhead.data.augmentation import build_augmentation
from dyhead.errors import UserError

_BROKEN_IMAGE = (OSError, SyntaxError, Image.DecompressionBombError, SizeMismatchError)
_MAX_SKIPPED_IN_A_ROW = 100

logger = logging.getLogger(__name__)


class CheckedMapper(DatasetMapper):
    """Detectron2's mapper; images that can't be decoded are skipped in training only.

    A skipped image is replaced by another one by the host's loader and reported with a count (per
    loader process). Evaluation must see every image, so there it stops with the file's name.
    """

    skipped = 0
    skipped_in_a_row = 0

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments: the host's, with the project's augmentation."""
        arguments = super().from_config(cfg, is_train)
        return {**arguments, "augmentations": build_augmentation(cfg, is_train)}

    def __call__(self, dataset_dict: dict) -> dict | None:
        """Map one dataset dict to a model input, or to None for a broken image in training.

        Raises:
            UserError: a broken image in evaluation, or too many in a row in training.
        """
        try:
            mapped = super().__call__(dataset_dict)
        except _BROKEN_IMAGE as error:
            self._handle_broken(dataset_dict["file_name"], error)
            return None
        self.skipped_in_a_row = 0
        return mapped

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
