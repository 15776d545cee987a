"""Reads YOLO's labels: a text file per picture, a line per object, numbers in fractions."""

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dyhead.data.checks import kinds
from dyhead.data.checks.report import Item
from dyhead.data.image_files import IMAGE_ENDINGS, files_below
from dyhead.data.sources.class_names import CLASS_FILES
from dyhead.data.sources.geometry import box_of_points, pairs
from dyhead.data.sources.source import Box, Source, SourceBuilder, named_categories
from dyhead.data.sources.text_files import finite_numbers, read_lines
from dyhead.data.sources.yolo_layout import YoloLayout, find_yaml, read_layout
from dyhead.errors import UserError
from dyhead.picture_files import read_header

KIND = "YOLO"
_READERS = 8  # threads: opening files is waiting
_FARTHEST = 2.0  # no box leaves its picture so far: larger numbers are pixels
_NO_LABELS = {*CLASS_FILES, "train.txt", "val.txt", "valid.txt", "test.txt", "readme.txt"}


def is_yolo(folder: Path) -> bool:
    """Return True for a folder with a data.yaml, with labels/, or with text files of labels."""
    if find_yaml(folder) is not None:
        return True
    files = (p for p in files_below(folder, (".txt",)) if p.name.lower() not in _NO_LABELS)
    return any("labels" in p.relative_to(folder).parts or _is_label(p) for p in files)


def yolo_parts(path: Path) -> list[str]:
    """List the parts that data.yaml names, or the folders named train, val and test."""
    return read_layout(path, None).part_names


def read_yolo(path: Path, image_root: Path | None, part: str) -> Source:
    """Read a data set, or one part of it.

    Fractions are of the picture as it is shown (EXIF applied), as YOLO takes them. A polygon
    counts by the box around it. A picture without a label file has no objects.

    Args:
        path: data.yaml, or a folder.
        image_root: by default where data.yaml says, or the folder itself.
        part: "" for the whole.

    Raises:
        UserError: it can't be read, or no picture has a label file.
    """
    layout = read_layout(path, image_root)
    pictures = layout.pictures(part)
    labels = [_label_of(picture, layout) for picture in pictures]
    if not any(labels):
        raise UserError(
            f"{path}: none of its {len(pictures)} pictures has a label file (a folder 'labels'"
            " beside 'images', or .txt files beside the pictures): put them there."
        )
    builder = SourceBuilder(path)
    if part == next(iter(layout.entries), ""):  # once, not for each part
        for absent in layout.absent:
            builder.report.add(kinds.ABSENT_PART, str(absent))
    root = image_root or _common_folder(layout.base, pictures)
    with ThreadPoolExecutor(_READERS) as pool:
        headers = pool.map(read_header, pictures)
        for picture, label, header in zip(pictures, labels, headers, strict=True):
            size = None if isinstance(header, OSError) else header.size
            _add(Path(os.path.relpath(picture, root)), size, label, layout, builder)
    _report_lonely_labels(pictures, labels, builder)
    return builder.build(KIND, root, _categories(layout))


def read_yolo_categories(path: Path, image_root: Path | None) -> list[dict]:
    """Read COCO's "categories" of a data set; their ids are YOLO's class numbers and 1.

    Raises:
        UserError: it can't be read.
    """
    return list(_categories(read_layout(path, image_root)).values())


def _categories(layout: YoloLayout) -> dict[str | int, dict]:
    return dict(enumerate(named_categories(layout.names).values()))


def _is_label(path: Path) -> bool:
    try:
        lines = [line for line in read_lines(path)[:3] if line]
    except UserError:
        return False
    return any(finite_numbers(line.split()) is not None and len(line.split()) > 4 for line in lines)


def _label_of(picture: Path, layout: YoloLayout) -> Path | None:
    """Return a picture's label file, or None."""
    label = picture.with_suffix(".txt")
    candidates = [_in_labels(label), label]
    if layout.labels != layout.base and label.is_relative_to(layout.base):
        relative = label.relative_to(layout.base)
        places = (_in_labels(relative), "labels" / relative, relative)
        candidates += [layout.labels / place for place in places]
    return next((each for each in candidates if os.path.isfile(each)), None)


def _in_labels(path: Path) -> Path:
    """Replace the last folder "images" of a path by "labels"."""
    places = [number for number, name in enumerate(path.parts) if name.lower() == "images"]
    if not places:
        return path
    return Path(*path.parts[: places[-1]], "labels", *path.parts[places[-1] + 1 :])


def _common_folder(base: Path, pictures: Sequence[Path]) -> Path:
    if all(picture.is_relative_to(base) for picture in pictures):
        return base
    try:
        return Path(os.path.commonpath([picture.parent for picture in pictures]))
    except ValueError as error:
        raise UserError(f"{base}: its pictures have no folder in common ({error}).") from error


def _add(
    name: Path,
    size: tuple[int, int] | None,
    label: Path | None,
    layout: YoloLayout,
    to: SourceBuilder,
) -> None:
    file_name = name.as_posix()
    try:
        lines = read_lines(label) if label else []
    except UserError as error:
        to.report.add(kinds.DAMAGED_LABEL_FILE, Item(str(error), file_name))
        return
    if label is None:
        to.report.add(kinds.BACKGROUND_IMAGE, Item(file_name, file_name))
    to.add_image(file_name, size)
    for number, line in enumerate(lines, start=1):
        where = f"{label}, line {number}"
        if line and size is None:
            problem = f"{where}: fractions of a picture whose size cannot be read"
            to.report.add(kinds.LOST_IMAGE, Item(problem, file_name))
        elif line and size is not None:
            _add_line(line, where, size, layout, to)


def _add_line(
    line: str, where: str, size: tuple[int, int], layout: YoloLayout, to: SourceBuilder
) -> None:
    values = finite_numbers(line.split())
    box = _box(values[1:], layout.has_key_points) if values else None
    if not values or box is None or values[0] != int(values[0]):
        problem = f"{where}: {line[:60]!r} is no class number with a box or a polygon in fractions"
        to.report.add(kinds.DAMAGED_LABEL, Item(problem, to.images[-1]["file_name"]))
        return
    x, y, width, height = box
    to.add_box(int(values[0]), (x * size[0], y * size[1], width * size[0], height * size[1]))


def _box(values: Sequence[float], has_key_points: bool) -> Box | None:
    """Return the box of an object in fractions, XYWH; None where the numbers are none."""
    if has_key_points and len(values) > 4:
        values = values[:4]
    if any(abs(value) > _FARTHEST for value in values):
        return None
    if len(values) == 4:
        center_x, center_y, width, height = values
        return center_x - width / 2, center_y - height / 2, width, height
    if len(values) >= 6 and len(values) % 2 == 0:
        return box_of_points(pairs(values))
    return None


def _report_lonely_labels(
    pictures: Sequence[Path], labels: Sequence[Path | None], to: SourceBuilder
) -> None:
    """Report label files beside the used ones without a picture beside the used ones."""
    folders: dict[Path, set[Path]] = defaultdict(set)
    for picture, label in zip(pictures, labels, strict=True):
        if label is not None:
            folders[label.parent].add(picture.parent)
    for folder, picture_folders in sorted(folders.items()):
        known = {path.stem for each in picture_folders for path in files_below(each, IMAGE_ENDINGS)}
        for path in sorted(folder.glob("*.txt")):
            if path.stem not in known and path.name.lower() not in _NO_LABELS:
                to.report.add(kinds.LABEL_WITHOUT_IMAGE, str(path))
