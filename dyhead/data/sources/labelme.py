"""Reads labelme: a folder with a json file per image."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from dyhead.data.checks import kinds
from dyhead.data.checks.report import CheckReport, Item
from dyhead.data.image_files import files_below
from dyhead.data.sources import parts
from dyhead.data.sources.class_names import categories_of
from dyhead.data.sources.geometry import box_of_boxes, box_of_points
from dyhead.data.sources.json_file import read_json
from dyhead.data.sources.picture_names import PictureNames
from dyhead.data.sources.source import Box, Source, SourceBuilder
from dyhead.data.sources.text_files import finite_numbers, pixel_size
from dyhead.errors import UserError

KIND = "labelme"
_ROTATED = ("rotation", "oriented_rectangle")
_NO_CLASSES = ("__ignore__", "_background_")  # with which labelme's own lists of labels begin

Points = Sequence[tuple[float, float]]


def is_labelme(content: Any) -> bool:
    """Return True for the content of a label file."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def labelme_parts(folder: Path) -> list[str]:
    """List the parts: folders named train, val and test, if all labels are in one of them."""
    return parts.parts_of_files(p.relative_to(folder) for p in files_below(folder, (".json",)))


def read_labelme(folder: Path, image_root: Path | None, part: str) -> Source:
    """Read a folder of labels, or one part of it; its classes are those of all parts.

    Rectangles count as they are; polygons, circles and masks count by the boxes around them.
    Shapes of one label and one group_id are one object, as in labelme's own conversion to COCO.

    Args:
        folder: searched with its subfolders.
        image_root: by default the folder itself.
        part: "" for the whole.

    Raises:
        UserError: nothing in it can be read.
    """
    builder = SourceBuilder(folder)
    root = image_root or folder
    pictures = PictureNames(root, builder.report)
    names: set[str] = set()
    for path, content in _read_labels(folder, part, builder.report):
        names |= set(_class_names(content))
        relative = path.relative_to(folder)
        if _is_in(part, relative):
            _add(path, relative, content, pictures, builder)
    return builder.build(KIND, root, categories_of(folder, names, _NO_CLASSES))


def _is_in(part: str, label: Path) -> bool:
    return not part or parts.part_of_folders(label) == part


def _read_labels(
    folder: Path, part: str, report: CheckReport
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Read files, all of them for the names of classes; those of the part are reported on."""
    for path in files_below(folder, (".json",)):
        try:
            content = read_json(path)
        except UserError as error:
            if _is_in(part, path.relative_to(folder)):
                report.add(kinds.DAMAGED_LABEL_FILE, str(error))
            continue
        if is_labelme(content):
            yield path, content


def _class_names(content: dict[str, Any]) -> Iterator[str]:
    for shape in content["shapes"]:
        if isinstance(shape, dict) and isinstance(name := shape.get("label"), str) and name:
            yield name


def _add(
    path: Path, relative: Path, content: dict[str, Any], pictures: PictureNames, to: SourceBuilder
) -> None:
    picture = _named_picture(relative, content, pictures) or pictures.find_for(relative)
    if not picture:
        to.report.add(kinds.LABEL_WITHOUT_IMAGE, str(path))
        return
    to.add_image(picture, pixel_size(content.get("imageWidth"), content.get("imageHeight")))
    objects: dict[tuple[str, Any], list[Box]] = {}
    for number, shape in enumerate(content["shapes"], start=1):
        if (box := _read_box(shape, picture, f"{path}, shape {number}", to.report)) is not None:
            objects.setdefault((shape["label"], _group(shape, number)), []).append(box)
    for (label, _), boxes in objects.items():
        to.add_box(label, box_of_boxes(boxes))


def _named_picture(relative: Path, content: dict[str, Any], pictures: PictureNames) -> str:
    """Return the picture that a label file names by its path from there; "" where it is none."""
    said = content.get("imagePath")
    if not isinstance(said, str) or not said:
        return ""
    path = PurePosixPath(said.replace("\\", "/"))
    folder = PurePosixPath(relative.parent.as_posix())
    # the folders may be of another machine
    places = (folder / path, folder / path.name)
    return next((name for each in places if (name := pictures.find(each.as_posix()))), "")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _group(shape: dict[str, Any], number: int) -> tuple[str, Any]:
    """Return what the shapes of one object have in common; a shape without a group is alone."""
    group = shape.get("group_id")
    is_named = isinstance(group, (int, str)) and group != ""
    return ("group", group) if is_named else ("shape", number)


def _read_box(shape: Any, picture: str, where: str, report: CheckReport) -> Box | None:
    """Return the box around a shape; None where it has none, which is reported."""
    kind = (shape.get("shape_type") or "polygon") if isinstance(shape, dict) else None
    points = _points(shape.get("points")) if isinstance(shape, dict) else None
    if points is None or not isinstance(kind, str) or not _is_name(shape.get("label")):
        report.add(kinds.DAMAGED_LABEL, Item(where, picture))
        return None
    if kind not in _BOXES:
        report.add(kinds.NOT_A_BOX, Item(f"{where}: {kind}", picture))
        return None
    box = _BOXES[kind](points)
    if box is None:
        report.add(kinds.DAMAGED_LABEL, Item(f"{where}: {kind}", picture))
    elif kind in _ROTATED:
        report.add(kinds.ROTATED_BOX, Item(where, picture, box))
    return box


def _points(values: Any) -> Points | None:
    if not isinstance(values, list) or not values:
        return None
    points = [finite_numbers(value) for value in values]
    if any(point is None or len(point) != 2 for point in points):
        return None
    return [(point[0], point[1]) for point in points if point]


def _of_corners(points: Points) -> Box | None:
    return box_of_points(points) if len(points) in (2, 4) else None


def _of_mask(points: Points) -> Box | None:
    """Return the box of a mask, which labelme tells by its first and its last pixel."""
    if len(points) != 2:
        return None
    x, y, width, height = box_of_points(points)
    return x, y, width + 1, height + 1


def _of_polygon(points: Points) -> Box | None:
    return box_of_points(points) if len(points) >= 3 else None


def _of_circle(points: Points) -> Box | None:
    """Return the box around a circle, which labelme tells by its center and a point on it."""
    if len(points) != 2:
        return None
    (x, y), (edge_x, edge_y) = points
    radius = ((edge_x - x) ** 2 + (edge_y - y) ** 2) ** 0.5
    return x - radius, y - radius, 2 * radius, 2 * radius


_BOXES: dict[str, Callable[[Points], Box | None]] = {
    "rectangle": _of_corners,
    "mask": _of_mask,
    "rotation": _of_polygon,  # rotated rectangles of programs that write labelme's format
    "oriented_rectangle": _of_polygon,
    "polygon": _of_polygon,
    "circle": _of_circle,
}
