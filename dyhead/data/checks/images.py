"""Checks the images of a COCO json against their files; only headers are read."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from dyhead.data.checks import kinds
from dyhead.data.checks.report import CheckReport, Item

_EXIF_ORIENTATION = 0x0112
_EXIF_TRANSPOSED = (5, 6, 7, 8)  # orientations that swap width and height
_READERS = 8  # threads: opening files is waiting, most of all on network drives

Size = tuple[int, int]  # width, height


def check_images(images: list, image_root: Path, report: CheckReport) -> dict[Any, dict]:
    """Find the usable entries of the list "images".

    Returns:
        image id -> entry, in the file's order, each with `width` and `height`.
    """
    well_formed = []
    for image in images:
        if is_image(image):
            well_formed.append(image)
        else:
            report.add(kinds.MALFORMED_IMAGE, str(image)[:60])
    with ThreadPoolExecutor(_READERS) as pool:
        headers = list(pool.map(read_header, (image_root / i["file_name"] for i in well_formed)))
    usable: dict[Any, dict] = {}
    for image, header in zip(well_formed, headers, strict=True):
        checked = _check_image(image, header, usable, report)
        if checked is not None:
            usable[image["id"]] = checked
    return usable


def is_image(image: Any) -> bool:
    """Return True for an entry that has an id and a file name."""
    return (
        isinstance(image, dict)
        and isinstance(image.get("id"), (int, str))
        and isinstance(image.get("file_name"), str)
        and image["file_name"] != ""
    )


def read_header(path: Path) -> Size | OSError:
    """Read width and height as shown (EXIF applied); an error is returned, not raised."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            transposed = image.getexif().get(_EXIF_ORIENTATION) in _EXIF_TRANSPOSED
    except OSError as error:
        return error
    except (ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return OSError(str(error))
    return (height, width) if transposed else (width, height)


def _check_image(
    image: dict, header: Size | OSError, usable: dict[Any, dict], report: CheckReport
) -> dict | None:
    file_name = image["file_name"]
    name = f"{file_name}, id {image['id']}"
    if image["id"] in usable:
        report.add(kinds.DUPLICATE_IMAGE_ID, Item(name, file_name))
    elif isinstance(header, (FileNotFoundError, NotADirectoryError)):
        report.add(kinds.MISSING_IMAGE, Item(name, file_name))
    elif isinstance(header, UnidentifiedImageError):
        report.add(kinds.UNREADABLE_IMAGE, Item(name, file_name))
    elif isinstance(header, OSError):
        report.add(kinds.UNREADABLE_IMAGE, Item(f"{name}: {header}", file_name))
    elif "width" not in image or "height" not in image:
        report.completed = True
        return {**image, "width": header[0], "height": header[1]}
    elif (image["width"], image["height"]) != header:
        sizes = f"{image['width']} x {image['height']}, file {header[0]} x {header[1]}"
        report.add(kinds.SIZE_MISMATCH, Item(f"{name}: {sizes}", file_name))
    else:
        return image
    return None
