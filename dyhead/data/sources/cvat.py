"""Reads CVAT's own XML, the format "CVAT for images"."""

from collections.abc import Callable
from pathlib import Path

from dyhead.data.checks import kinds
from dyhead.data.checks.report import Item
from dyhead.data.sources import parts
from dyhead.data.sources.class_names import categories_of, refuse_repeated
from dyhead.data.sources.geometry import (
    box_of_corners,
    box_of_ellipse,
    box_of_points,
    box_of_rotated,
    pairs,
)
from dyhead.data.sources.picture_names import PictureNames, image_folder
from dyhead.data.sources.source import Box, Source, SourceBuilder, named_categories
from dyhead.data.sources.text_files import finite_number, finite_numbers, pixel_size
from dyhead.data.sources.xml_files import Element, read_xml
from dyhead.errors import UserError

KIND = "CVAT for images"
_NO_BOXES = ("points", "polyline", "cuboid", "skeleton")


def cvat_parts(path: Path) -> list[str]:
    """List the subsets that the images are assigned to."""
    found = {_subset(image) for image in _read(path).children("image")}
    return [] if "" in found else parts.in_order(found)


def read_cvat(path: Path, image_root: Path | None, part: str) -> Source:
    """Read an export, or one subset of it; its classes are all labels of the task or project.

    Args:
        path: the XML file.
        image_root: by default the folder "images" beside the file, or the file's own.
        part: "" for the whole.

    Raises:
        UserError: it can't be read, is of another format, or names a class twice.
    """
    root = _read(path)
    builder = SourceBuilder(path)
    folder = image_root or image_folder(path.parent)
    pictures = PictureNames(folder, builder.report)
    for image in root.children("image"):
        if not part or _subset(image) == part:
            _add_image(image, pictures, builder)
    labels = root.findall("meta//labels/label")
    # those with a parent are a skeleton's points
    names = [(e.findtext("name") or "").strip() for e in labels if not e.findtext("parent")]
    if names:
        return builder.build(KIND, folder, named_categories(refuse_repeated(names, path)))
    used = (shape.get("label") or "" for image in root.children("image") for shape in image)
    return builder.build(KIND, folder, categories_of(path.parent, (name for name in used if name)))


def _read(path: Path) -> Element:
    root = read_xml(path)
    if root.tag != "annotations" or root.children("track"):
        raise UserError(
            f"{path} is no export of images: export it from CVAT in the format 'CVAT for images'."
        )
    return root


def _subset(image: Element) -> str:
    subset = image.get("subset") or ""
    return parts.part_name(subset) or subset


def _add_image(image: Element, pictures: PictureNames, builder: SourceBuilder) -> None:
    name = image.get("name") or ""
    where = f"{builder.path}, line {image.line}"
    if not name:
        builder.report.add(kinds.MALFORMED_IMAGE, f"{where}: no name")
        return
    # The pictures of a subset are in a folder of its name; another one may have a picture of this
    # name, which is not meant where this subset's is missing.
    subset = image.get("subset") or ""
    is_inside = not name.startswith("/") and ".." not in name.split("/")
    below = f"{subset}/{name}" if subset and is_inside else name
    file_name = pictures.find(f"{subset}/{name}".lstrip("/")) or below
    builder.add_image(file_name, pixel_size(image.get("width"), image.get("height")))
    for shape in image:
        assert isinstance(shape, Element)
        _add_shape(shape, file_name, f"{builder.path}, line {shape.line}", builder)


def _add_shape(shape: Element, file_name: str, where: str, builder: SourceBuilder) -> None:
    if shape.tag in _NO_BOXES:
        builder.report.add(kinds.NOT_A_BOX, Item(f"{where}: {shape.tag}", file_name))
    elif shape.tag in _BOXES:
        box, label = _BOXES[shape.tag](shape), shape.get("label")
        if box is None or not label:
            builder.report.add(kinds.DAMAGED_LABEL, Item(f"{where}: {shape.tag}", file_name))
            return
        if shape.tag == "box" and finite_number(shape.get("rotation")):
            builder.report.add(kinds.ROTATED_BOX, Item(where, file_name, box))
        builder.add_box(label, box)


def _numbers(shape: Element, *names: str) -> list[float] | None:
    return finite_numbers([shape.get(name) for name in names])


def _rotation(shape: Element) -> float:
    return finite_number(shape.get("rotation")) or 0.0


def _box(shape: Element) -> Box | None:
    values = _numbers(shape, "xtl", "ytl", "xbr", "ybr")
    if values is None:
        return None
    box = box_of_corners(values[0], values[1], values[2], values[3])
    if not _rotation(shape):
        return box
    return box_of_rotated(box, _rotation(shape), (box[0] + box[2] / 2, box[1] + box[3] / 2))


def _polygon(shape: Element) -> Box | None:
    values = finite_numbers((shape.get("points") or "").replace(";", ",").split(","))
    if values is None or len(values) < 6 or len(values) % 2:
        return None
    return box_of_points(pairs(values))


def _ellipse(shape: Element) -> Box | None:
    values = _numbers(shape, "cx", "cy", "rx", "ry")
    if values is None:
        return None
    return box_of_ellipse((values[0], values[1]), (values[2], values[3]), _rotation(shape))


def _mask(shape: Element) -> Box | None:
    values = _numbers(shape, "left", "top", "width", "height")
    return None if values is None else (values[0], values[1], values[2], values[3])


_BOXES: dict[str, Callable[[Element], Box | None]] = {
    "box": _box,
    "polygon": _polygon,
    "ellipse": _ellipse,
    "mask": _mask,
}
