"""Checks the images of a COCO json against their files; only headers are read."""

import posixpath
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import UnidentifiedImageError

from dyhead import picture_files
from dyhead.data.checks import kinds
from dyhead.data.checks.file_names import NameSearch, find_files, leads_outside
from dyhead.data.checks.kinds import Kind
from dyhead.data.checks.report import CheckReport, Item
from dyhead.picture_files import Header

_READERS = 8  # threads: opening files is waiting, most of all on network drives
_CHUNK = 256  # files between two calls of a progress function

Size = tuple[int, int]  # width, height
Progress = Callable[[int, int], None]  # files done, files in all


@dataclass(frozen=True)
class Turn:
    """A turn by EXIF of a picture whose labels were made on it as it is stored."""

    orientation: int
    stored: Size


@dataclass
class CheckedImages:
    """The usable images of a COCO json.

    Attributes:
        by_id: image id -> entry, in the file's order, each with `width` and `height` as shown.
        turns: image id -> how the boxes have to be turned.
        num_bytes: image id -> size of its file.
    """

    by_id: dict[Any, dict] = field(default_factory=dict)
    turns: dict[Any, Turn] = field(default_factory=dict)
    num_bytes: dict[Any, int] = field(default_factory=dict)


def check_images(
    images: list,
    image_root: Path,
    report: CheckReport,
    progress: Progress | None = None,
    allow_outside: bool = False,
) -> CheckedImages:
    """Find the usable entries of the list "images", and the files of misspelt names.

    Args:
        images: the list as it stands in the file.
        image_root: the folder that the names are relative to.
        report: takes what is found.
        progress: called now and then while headers are read.
        allow_outside: DATASETS.ALLOW_OUTSIDE.
    """
    well_formed = []
    for image in images:
        if is_image(image):
            well_formed.append(image)
        else:
            report.add(kinds.MALFORMED_IMAGE, str(image)[:60])
    headers = _read_headers(well_formed, image_root, progress, allow_outside)
    search = _search_missing(well_formed, headers, image_root)
    checked = CheckedImages()
    for image, header in zip(well_formed, headers, strict=True):
        correct = search.found.get(image["file_name"])
        if correct is not None and _is_missing(header):
            name = f"{image['file_name']}, id {image['id']}"
            report.add(kinds.FILE_NAME, Item(f"{name}: {correct}", correct))
            image = {**image, "file_name": correct}
            header = picture_files.read_header(image_root / correct)
        _take(image, header, search, checked, report)
    _count_files_listed_twice(checked, report)
    return checked


def is_image(image: Any) -> bool:
    """Return True for an entry that has an id and a file name."""
    return (
        isinstance(image, dict)
        and isinstance(image.get("id"), (int, str))
        and isinstance(image.get("file_name"), str)
        and image["file_name"] != ""
    )


def read_header(path: Path) -> Size | OSError:
    """Read a picture's width and height as shown, upright; an error is returned, not raised."""
    header = picture_files.read_header(path)
    return header if isinstance(header, OSError) else header.size


class _OutsideError(FileNotFoundError):
    """A file name that leads out of the image folder."""


def _read_headers(
    images: Sequence[dict], image_root: Path, progress: Progress | None, allow_outside: bool
) -> list[Header | OSError]:
    def read(image: dict) -> Header | OSError:
        name = image["file_name"]
        if not allow_outside and leads_outside(name, image_root):
            return _OutsideError(name)
        return picture_files.read_header(image_root / name)

    headers: list[Header | OSError] = []
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(images), _CHUNK):
            headers.extend(pool.map(read, images[start : start + _CHUNK]))
            if progress is not None:
                progress(len(headers), len(images))
    return headers


def _search_missing(
    images: Sequence[dict], headers: Sequence[Header | OSError], image_root: Path
) -> NameSearch:
    missing: list[str] = []
    there: list[str] = []
    for image, header in zip(images, headers, strict=True):
        (missing if _is_missing(header) else there).append(image["file_name"])
    return find_files(missing, image_root, there) if missing else NameSearch({}, {})


def _is_missing(header: Header | OSError) -> bool:
    return isinstance(header, FileNotFoundError | NotADirectoryError)


def _take(
    image: dict,
    header: Header | OSError,
    search: NameSearch,
    checked: CheckedImages,
    report: CheckReport,
) -> None:
    """Add an image to the usable ones, or its problem to the report."""
    file_name = image["file_name"]
    name = f"{file_name}, id {image['id']}"
    if image["id"] in checked.by_id:
        report.add(kinds.DUPLICATE_IMAGE_ID, Item(name, file_name))
    elif isinstance(header, OSError):
        _lose(image, *_file_problem(file_name, header, search), report)
    else:
        usable = _with_true_size(image, header, checked, report)
        if usable is not None:
            checked.by_id[image["id"]] = usable
            checked.num_bytes[image["id"]] = header.num_bytes
            if header.is_deep:
                report.add(kinds.DEEP_PICTURE, Item(name, file_name))


def _lose(image: dict, kind: Kind, reason: str, report: CheckReport) -> None:
    """Report an image that is left out for its file."""
    file_name = image["file_name"]
    name = f"{file_name}, id {image['id']}"
    report.add(kind, Item(f"{name}: {reason}" if reason else name, file_name))
    more = f" ({reason})" if reason else ""
    report.lost_images[image["id"]] = f"{file_name}: {kind.problem}{more}"


def _file_problem(file_name: str, error: OSError, search: NameSearch) -> tuple[Kind, str]:
    """Tell what kind of problem a file has, and more about it, or "" where there is no more."""
    if _is_missing(error):
        likely = search.likely.get(file_name)
        hint = f"is {' or '.join(likely)} meant?" if likely else ""
        outside = isinstance(error, _OutsideError)
        return (kinds.OUTSIDE_FOLDER if outside else kinds.MISSING_IMAGE), hint
    if isinstance(error, UnidentifiedImageError):  # its message is about a Python object
        return kinds.UNREADABLE_IMAGE, ""
    return kinds.UNREADABLE_IMAGE, str(error)


def _with_true_size(
    image: dict, header: Header, checked: CheckedImages, report: CheckReport
) -> dict | None:
    """Return an image's entry with the size of its file as shown, None where sizes disagree."""
    file_name = image["file_name"]
    name = f"{file_name}, id {image['id']}"
    width, height = header.size
    if "width" not in image or "height" not in image:
        report.completed = True
        image = {**image, "width": width, "height": height}
    labelled = (image["width"], image["height"])
    if labelled == header.size:
        if header.orientation != 1 and header.size == header.stored:
            report.add(kinds.TURNED_SAME_SIZE, Item(name, file_name))
        return image
    sizes = f"{labelled[0]} x {labelled[1]}, file {width} x {height}"
    if labelled == header.stored:  # and this differs: labels were made before EXIF turned it
        report.add(kinds.SENSOR_RASTER, Item(f"{name}: {sizes}", file_name))
        checked.turns[image["id"]] = Turn(header.orientation, header.stored)
        return {**image, "width": width, "height": height}
    _lose(image, kinds.SIZE_MISMATCH, sizes, report)
    return None


def _count_files_listed_twice(checked: CheckedImages, report: CheckReport) -> None:
    ids = defaultdict(list)
    for image_id, image in checked.by_id.items():
        ids[posixpath.normpath(image["file_name"])].append(image_id)
    for file_name, same in ids.items():
        if len(same) > 1:
            listed = ", ".join(str(image_id) for image_id in same[:5])
            report.add(kinds.LISTED_TWICE, Item(f"{file_name}, ids {listed}", file_name))
