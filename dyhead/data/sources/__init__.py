"""Reads labelled data sets of any kind into COCO's form, as they stand: the checks come later."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dyhead.data.sources.division import PARTS, Division, divide
from dyhead.data.sources.formats import recognise
from dyhead.data.sources.parts import MARK, split_path
from dyhead.data.sources.source import Source
from dyhead.errors import UserError

__all__ = ["Division", "Source", "is_divided", "part_names", "read_categories", "read_source"]


def read_source(
    path: Path, image_root: Path | None = None, division: Division | None = None
) -> Source:
    """Read a data set by the path of its file or folder; its format is recognised by content.

    Formats: COCO, PASCAL VOC, YOLO, CVAT for images, Label Studio (JSON and JSON-MIN), labelme.

    Args:
        path: a file or folder; `#train`, `#val` or another name behind it chooses a part. A data
            set without parts of its own is divided into train and val.
        image_root: the image folder; by default the one that the source names, or its own.
        division: the rule for dividing; by default every fifth image goes to val.

    Raises:
        UserError: it is missing, damaged, or of no format that is known; the part is not there, or
            none was chosen of several.
    """
    with _system_errors(path):
        file, part = split_path(path)
        found = recognise(file)
        own = found.parts(found.path)
        source = found.read(found.path, image_root, _choose(file, part, own) if own else "")
    if part and not own:
        if part not in PARTS:
            raise UserError(
                f"{path}: {file} has no parts of its own: it is divided into train and val, not"
                f" {part}."
            )
        source = divide(source, part, division or Division())
    if source.is_verbatim:
        return source
    source.report.source = str(path)
    return replace(source, path=path)


def read_categories(path: Path, image_root: Path | None = None) -> list[dict]:
    """Read COCO's "categories" of a data set; no image is opened.

    Raises:
        UserError: as for `read_source`.
    """
    with _system_errors(path):
        file, part = split_path(path)
        found = recognise(file)
        if found.categories is not None:
            return found.categories(found.path, image_root)
        own = found.parts(found.path)
        part = _choose(file, part, own) if own else ""
        categories: list[dict] = found.read(found.path, image_root, part).content["categories"]
        return categories


def part_names(path: Path) -> list[str]:
    """List the parts that a data set has of its own; [] where it has none, or `path` names one.

    Raises:
        UserError: as for `read_source`.
    """
    with _system_errors(path):
        file, part = split_path(path)
        found = recognise(file)
        return [] if part else found.parts(found.path)


def is_divided(path: Path) -> bool:
    """Return True if `read_source` divides a data set: a part is named, and it has none of its own.

    Raises:
        UserError: as for `read_source`.
    """
    with _system_errors(path):
        file, part = split_path(path)
        found = recognise(file)
        return bool(part) and not found.parts(found.path)


@contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    """Name the source where the system does not let it be read."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror or error}).") from error


def _choose(file: Path, part: str, own: list[str]) -> str:
    if part in own or (not part and len(own) == 1):
        return part or own[0]
    named = ", ".join(f"{file}{MARK}{each}" for each in own)
    if part:
        raise UserError(f"{file} has no part {part!r}: name one of {named}.")
    raise UserError(f"{file} has several parts: name one of {named}.")
