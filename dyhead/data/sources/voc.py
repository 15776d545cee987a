"""Reads PASCAL VOC: a folder with an XML file per image."""

import math
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dyhead.data.checks import kinds
from dyhead.data.checks.report import CheckReport, Item
from dyhead.data.checks.values import read_flag
from dyhead.data.image_files import files_below
from dyhead.data.sources import parts
from dyhead.data.sources.class_names import categories_of
from dyhead.data.sources.geometry import box_of_corners, box_of_rotated
from dyhead.data.sources.picture_names import PictureNames, image_folder
from dyhead.data.sources.source import Box, Source, SourceBuilder
from dyhead.data.sources.text_files import finite_numbers, pixel_size, read_lines
from dyhead.data.sources.xml_files import Element, read_xml, root_tag
from dyhead.errors import UserError

KIND = "PASCAL VOC"
_OFFICIAL = re.compile(r"VOC\s?20\d\d", re.IGNORECASE)  # how the devkit's files name their source
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_ROTATED = ("cx", "cy", "w", "h", "angle")


@dataclass(frozen=True)
class _Label:
    """A label file: its path relative to the folder of labels, and its root."""

    path: Path
    relative: Path
    root: Element


def is_voc(folder: Path) -> bool:
    """Return True if the first XML file of a folder is a label of VOC."""
    return any(root_tag(path) == "annotation" for path in files_below(folder, (".xml",))[:3])


def voc_parts(folder: Path) -> list[str]:
    """List the parts: the lists of ImageSets/Main, or folders named train, val and test."""
    if lists := _lists(folder):
        return parts.in_order(part for part in lists.values() if part)
    labels = _label_folder(folder)
    return parts.parts_of_files(path.relative_to(labels) for path in _xml_files(labels))


def read_voc(folder: Path, image_root: Path | None, part: str) -> Source:
    """Read a folder of VOC, or one part of it; its classes are those of all parts.

    Corners are taken as they stand, from 0 and without the pixel of the far corner, as labelling
    tools write them. Only files whose source is a VOC challenge count pixels from 1 and name the
    last one, as its development kit says. Difficult objects are ignored, as in its evaluation.

    Args:
        folder: has the XML files, or a folder Annotations with them.
        image_root: by default JPEGImages or images in the folder, or itself.
        part: "" for the whole.

    Raises:
        UserError: nothing in it can be read.
    """
    builder = SourceBuilder(folder)
    root = image_root or image_folder(folder)
    pictures = PictureNames(root, builder.report)
    listed = _listed(folder, part)
    labels = _label_folder(folder)
    files = {path: _is_in(part, listed, path.relative_to(labels)) for path in _xml_files(labels)}
    names: set[str] = set()
    for label in _read_labels(labels, files, builder.report):
        names |= {each.text_of("name") for each in label.root.children("object")}
        if files[label.path]:
            _add(label, _picture_of(label, pictures, builder.report), builder)
    there = {_list_name(path.relative_to(labels)) for path in files}
    for name in listed or ():
        if name not in there:
            builder.report.add(kinds.UNLABELLED_IMAGE, name)
    return builder.build(KIND, root, categories_of(folder, names - {""}))


def _label_folder(folder: Path) -> Path:
    return folder / "Annotations" if (folder / "Annotations").is_dir() else folder


def _lists(folder: Path) -> dict[Path, str]:
    """Return the lists of ImageSets/Main with the part that each is of; "" for those of a class."""
    return {
        path: "" if _is_list_of_a_class(path) else parts.part_name(path.stem) or path.stem
        for path in sorted((folder / "ImageSets" / "Main").glob("*.txt"))
    }


def _is_list_of_a_class(path: Path) -> bool:
    """Return True for VOC's lists of a class, which say 1, 0 or -1 after each name."""
    words = next((line for line in read_lines(path) if line), "").split()
    return "_" in path.stem and len(words) > 1 and words[-1] in ("1", "0", "-1")


def _xml_files(folder: Path) -> list[Path]:
    return files_below(folder, (".xml",))


def _list_name(label: Path) -> str:
    """Return the path of a label file as lists have it, without an ending."""
    return label.with_suffix("").as_posix()


def _is_in(part: str, listed: Container[str] | None, label: Path) -> bool:
    """Return True for a label of a part: it is in its list, or its folder is named after it."""
    if listed is not None:
        return _list_name(label) in listed
    return not part or parts.part_of_folders(label) == part


def _read_labels(folder: Path, files: Mapping[Path, bool], report: CheckReport) -> Iterator[_Label]:
    """Read files, all of them for the names of classes; those that are wanted are reported on."""
    for path, is_wanted in files.items():
        try:
            root = read_xml(path)
        except UserError as error:
            if is_wanted:
                report.add(kinds.DAMAGED_LABEL_FILE, str(error))
            continue
        if root.tag == "annotation":
            yield _Label(path, path.relative_to(folder), root)


def _listed(folder: Path, part: str) -> dict[str, None] | None:
    """Read the names in a part's lists; None where the whole is read, or parts are folders."""
    lists = [path for path, of in _lists(folder).items() if part and of == part]
    names = dict.fromkeys(name for path in lists for name in read_lines(path) if name)
    return names if lists else None


def _picture_of(label: _Label, pictures: PictureNames, report: CheckReport) -> str:
    own = pictures.find_for(label.relative)
    said = label.root.text_of("filename").replace("\\", "/")
    named = pictures.find((label.relative.parent / said).as_posix()) if said else ""
    if own and named and own != named:
        report.add(kinds.OTHER_IMAGE_NAMED, Item(f"{label.path} names {said}", own))
    if not own and not named:
        report.add(kinds.LABEL_WITHOUT_IMAGE, str(label.path))
    return own or named


def _add(label: _Label, picture: str, builder: SourceBuilder) -> None:
    """Add a picture with its objects; nothing where the picture is not there."""
    if not picture:
        return
    size = label.root.child_or_empty("size")
    builder.add_image(picture, pixel_size(size.text_of("width"), size.text_of("height")))
    offset = 1.0 if _counts_from_one(label.root) else 0.0
    for element in label.root.children("object"):
        where = f"{label.path}, line {element.line}"
        name, box = element.text_of("name"), _box(element, offset)
        if box is None and element.find("robndbox") is not None:
            box = _box_of_rotated(element)
            if box:
                builder.report.add(kinds.ROTATED_BOX, Item(where, picture, box))
        if box is None or not name:
            problem = "no bndbox of 4 numbers" if name else "no name"
            builder.report.add(kinds.DAMAGED_LABEL, Item(f"{where}: {problem}", picture))
        else:
            builder.add_box(name, box, ignore=read_flag(element.text_of("difficult")) == 1)


def _counts_from_one(root: Element) -> bool:
    source = root.child_or_empty("source")
    return bool(_OFFICIAL.search(f"{source.text_of('database')} {source.text_of('annotation')}"))


def _box(element: Element, offset: float) -> Box | None:
    corners = element.child_or_empty("bndbox")
    values = finite_numbers([corners.text_of(each) for each in _CORNERS])
    if values is None:
        return None
    left, top, right, bottom = values
    return box_of_corners(left - offset, top - offset, right, bottom)


def _box_of_rotated(element: Element) -> Box | None:
    """Return the box around roLabelImg's: a center, a size and an angle in radians, clockwise."""
    rotated = element.child_or_empty("robndbox")
    values = finite_numbers([rotated.text_of(each) for each in _ROTATED])
    if values is None:
        return None
    x, y, width, height, angle = values
    box = (x - width / 2, y - height / 2, width, height)
    return box_of_rotated(box, math.degrees(angle), (x, y))
