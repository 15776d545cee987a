"""Finds and loads the images of a folder, and passes over those that cannot be read."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import UnidentifiedImageError
from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.data import build_detection_test_loader
from dyhead.data import CheckedMapper
from dyhead.data.image_files import IMAGE_ENDINGS, files_below
from dyhead.errors import UserError

UNREADABLE = "unreadable"  # key of the reason, in the place of "image"


def find_images(
    folder: Path, max_images: int | None = None, without: Path | None = None
) -> list[Path]:
    """List the image files below a folder, sorted by path; hidden ones are left out.

    Args:
        folder: links in it are followed.
        max_images: only so many, the first ones.
        without: a file that is left out: the picture of an earlier run.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise UserError(f"--images {folder} is no folder: name the one that holds the images.")
    found = files_below(folder, IMAGE_ENDINGS)
    if without is not None:
        found = [path for path in found if path.resolve() != without.resolve()]
    if not found:
        raise UserError(
            f"--images {folder} holds no image ({', '.join(IMAGE_ENDINGS)}), however deep."
        )
    return found[:max_images]


def build_image_loader(cfg: CfgNode, files: list[Path]) -> Iterable[list[dict[str, Any]]]:
    """Build Detectron2's test loader over image files.

    Returns:
        batches of one dict: file_name, image_id (from 1, in the order of `files`), and either
        image, (3, h, w) as the model takes it, with height and width of the file; or, where the
        file cannot be decoded, the reason under `UNREADABLE`.
    """
    dataset = [
        {"file_name": str(path), "image_id": number} for number, path in enumerate(files, start=1)
    ]
    return build_detection_test_loader(
        dataset,
        mapper=_TolerantMapper(CheckedMapper(cfg, is_train=False)),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


class ReadableOnly(nn.Module):
    """A wrapper that passes a model only the images that could be read."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
        """Compute the model's outputs, with None in the places of unreadable images."""
        readable = [image for image in batch if UNREADABLE not in image]
        outputs = iter(self.model(readable) if readable else [])
        return [None if UNREADABLE in image else next(outputs) for image in batch]


class _TolerantMapper:
    """A mapper that gives the reason in the place of an image that cannot be decoded."""

    def __init__(self, mapper: CheckedMapper) -> None:
        self._mapper = mapper

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        try:
            mapped = self._mapper(dataset_dict)
        except ValueError as error:  # UserError is one
            return {**dataset_dict, UNREADABLE: _reason(error.__cause__ or error)}
        assert mapped is not None, "a mapper for testing skips nothing"
        return mapped


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):  # its message is about a Python object
        return "no image"
    return " ".join(str(error).split()) or type(error).__name__
