"""Reads Label Studio's exports "JSON" and "JSON-MIN"."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from dyhead.data.checks import kinds
from dyhead.data.checks.report import Item
from dyhead.data.image_files import IMAGE_ENDINGS
from dyhead.data.sources.class_names import categories_of
from dyhead.data.sources.geometry import box_of_ellipse, box_of_points, box_of_rotated
from dyhead.data.sources.json_file import read_json
from dyhead.data.sources.picture_names import PictureNames, image_folder
from dyhead.data.sources.source import Box, Source, SourceBuilder
from dyhead.data.sources.text_files import finite_number, finite_numbers, pixel_size
from dyhead.errors import UserError

KIND = "Label Studio json"
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # what Label Studio puts before a file's name
_LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "labels")
_NO_BOXES = ("keypointlabels", "brushlabels", "vectorlabels")


def read_label_studio(path: Path, image_root: Path | None) -> Source:
    """Read an export; tasks without an annotation are left out.

    Args:
        path: the json file.
        image_root: by default the folder "images" beside the file, or the file's own.

    Raises:
        UserError: it can't be read, is of another format, or labels nothing.
    """
    tasks = read_json(path)
    if not isinstance(tasks, list) or not any(_image_of(task) for task in tasks):
        raise UserError(
            f"{path} is a json list without images: export COCO's format, or Label Studio's JSON."
        )
    builder = SourceBuilder(path)
    folder = image_root or image_folder(path.parent)
    pictures = PictureNames(folder, builder.report)
    for number, task in enumerate(tasks, start=1):
        _add_task(task, f"{path}, task {number}", pictures, builder)
    names = (annotation["category_id"] for annotation in builder.annotations)
    return builder.build(KIND, folder, categories_of(path.parent, names))


def _image_of(task: Any) -> str:
    """Return the address of a task's image; "" where there is none."""
    data = task.get("data", task) if isinstance(task, dict) else None
    if not isinstance(data, dict):
        return ""
    values = [data.get("image"), *data.values()]
    return next((v for v in values if isinstance(v, str) and _file_name(v)), "")


def _file_name(address: str) -> str:
    """Return the path within the storage that an address of an image names; "" if it is none."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    if parts.path.rstrip("/").endswith("/local-files"):  # ?d=folder/picture.jpg
        name = parse_qs(parts.query).get("d", [""])[0]
    else:
        name = unquote(parts.path)
    if PurePosixPath(name).suffix.lower() not in IMAGE_ENDINGS:
        return ""
    return re.sub(r"^/?data/upload/(\d+/)?", "", name).lstrip("/")


def _add_task(task: Any, where: str, pictures: PictureNames, to: SourceBuilder) -> None:
    address = _image_of(task)
    if not address:
        to.report.add(kinds.MALFORMED_IMAGE, where)
        return
    name = _file_name(address)
    path = PurePosixPath(name)
    original = path.parent / _UPLOADED.sub("", path.name)
    picture = pictures.find(name) or pictures.find(original.as_posix())
    results = _results(task, Item(f"{where}, {name}", picture or name), to)
    if results is None:
        to.report.add(kinds.UNLABELLED_IMAGE, Item(f"{where}, {name}", picture or name))
        return
    sizes = (pixel_size(r.get("original_width"), r.get("original_height")) for r in results)
    to.add_image(picture or name, next((size for size in sizes if size), None))
    labelled = {str(result["id"]) for result in results if "id" in result and _is_labelled(result)}
    for number, result in enumerate(results, start=1):
        if not _is_labelled(result) and str(result.get("id", "")) in labelled:
            continue  # the shape of a label that stands beside it, or a text or a choice on it
        _add_result(result, Item(f"{where}, result {number}", picture or name), to)


def _results(task: dict[str, Any], item: Item, to: SourceBuilder) -> list[dict[str, Any]] | None:
    """Return the results that count for a task; None where nobody labelled it."""
    if "data" not in task:  # JSON-MIN: a list under the name of the control
        lists = [value for value in task.values() if isinstance(value, list)]
        found: Any = [each for value in lists for each in value]
    else:
        annotations = task.get("annotations", task.get("completions"))
        done = [a for a in annotations if _is_done(a)] if isinstance(annotations, list) else []
        if not done:
            return None
        if len(done) > 1:
            to.report.add(kinds.SEVERAL_LABELLERS, item)
        truth = [each for each in done if each.get("ground_truth")]
        latest_first = reversed(truth or done)  # of equal times, or without any, the last one
        found = max(latest_first, key=lambda each: str(each.get("updated_at", "")))["result"]
    return [{**_value(each), **each} for each in found if isinstance(each, dict)]


def _is_done(annotation: Any) -> bool:
    return (
        isinstance(annotation, dict)
        and isinstance(annotation.get("result"), list)
        and not annotation.get("was_cancelled")
    )


def _value(result: dict[str, Any]) -> dict[str, Any]:
    value = result.get("value")
    return value if isinstance(value, dict) else {}


def _add_result(result: dict[str, Any], item: Item, to: SourceBuilder) -> None:
    if any(result.get(key) for key in _NO_BOXES):
        to.report.add(kinds.NOT_A_BOX, item)
        return
    labels = list(_labels_of(result))
    if not labels:  # a choice, a text, or a shape without a class
        if "x" in result or "points" in result:
            _refuse(item, "no label", to)
        return
    size = pixel_size(result.get("original_width"), result.get("original_height"))
    box = _box(result, size) if size else None
    if box is None or finite_number(result.get("image_rotation") or 0) != 0:
        reason = "no shape of known size" if box is None else "drawn on a turned image"
        _refuse(item, reason, to)
        return
    if finite_number(result.get("rotation")):
        to.report.add(kinds.ROTATED_BOX, Item(item.description, item.file_name, box))
    for name in labels:
        to.add_box(name, box)


def _refuse(item: Item, reason: str, to: SourceBuilder) -> None:
    to.report.add(kinds.DAMAGED_LABEL, Item(f"{item.description}: {reason}", item.file_name))


def _labels_of(result: dict[str, Any]) -> Iterator[str]:
    for key in _LABELS:
        yield from _texts(result.get(key))


def _is_labelled(result: dict[str, Any]) -> bool:
    return any(True for _ in _labels_of(result))


def _texts(value: Any) -> Iterator[str]:
    yield from (v for v in value if isinstance(v, str) and v) if isinstance(value, list) else ()


def _box(result: dict[str, Any], size: tuple[int, int]) -> Box | None:
    """Return the upright box around a shape, whose numbers are percents of the image's sides."""
    across, down = size[0] / 100, size[1] / 100
    if isinstance(result.get("points"), list):
        points = [finite_numbers(point) for point in result["points"]]
        known = [(p[0] * across, p[1] * down) for p in points if p and len(p) == 2]
        return box_of_points(known) if len(known) == len(points) >= 3 else None
    rotation = finite_number(result.get("rotation") or 0)
    corner = finite_numbers([result.get("x"), result.get("y")])
    if corner is None or rotation is None:
        return None
    x, y = corner[0] * across, corner[1] * down
    if radii := finite_numbers([result.get("radiusX"), result.get("radiusY")]):
        return box_of_ellipse((x, y), (radii[0] * across, radii[1] * down), rotation)
    sides = finite_numbers([result.get("width"), result.get("height")])
    if sides is None:
        return None
    return box_of_rotated((x, y, sides[0] * across, sides[1] * down), rotation, (x, y))
