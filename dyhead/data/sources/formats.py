"""Recognises the format of a labelled data set by the content of its file or folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dyhead.data.image_files import files_below
from dyhead.data.sources import coco, cvat, label_studio, labelme, parts, voc, yolo
from dyhead.data.sources.class_names import find_class_file
from dyhead.data.sources.json_file import read_json
from dyhead.data.sources.source import Source
from dyhead.data.sources.xml_files import root_tag
from dyhead.errors import UserError

KNOWN = (
    "a COCO json, a folder of PASCAL VOC or labelme files, a YOLO data.yaml or folder, an XML of"
    " 'CVAT for images', or a JSON export of Label Studio"
)


_LOOKED_AT = 20  # json files: some of labelme's may be damaged


@dataclass(frozen=True)
class Format:
    """A recognised file or folder, ready to be read.

    Attributes:
        path: of what is read: the only json of a folder, for instance.
        parts: lists the names of its parts; [] where it has none.
        read: reads it from (path, image folder or None, name of a part or "").
        categories: reads the categories from (path, image folder or None) where `read` would open
            images to do so.
    """

    path: Path
    parts: Callable[[Path], list[str]]
    read: Callable[[Path, Path | None, str], Source]
    categories: Callable[[Path, Path | None], list[dict]] | None = None


def recognise(path: Path) -> Format:
    """Find out the format of a file or folder.

    Raises:
        UserError: it is missing, or of no format that is known.
    """
    if path.is_dir():
        return _recognise_folder(path)
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is neither a file nor a folder: name {KNOWN}.")
    if path.suffix.lower() in (".yaml", ".yml"):
        return _yolo(path)
    if path.suffix.lower() == ".xml":
        return _recognise_xml(path)
    if path.is_file() and _first_character(path) == "[":
        return Format(path, _no_parts, _read_label_studio)
    return Format(path, _no_parts, _read_coco_file)


def _recognise_xml(path: Path) -> Format:
    if root_tag(path) == "annotation":
        raise UserError(f"{path} labels one image: name the folder of all label files.")
    return Format(path, cvat.cvat_parts, cvat.read_cvat)


def _recognise_folder(folder: Path) -> Format:
    """Try one format after the other, those with a file of a name of their own first."""
    if yolo.find_yaml(folder) is not None:
        return _yolo(folder)
    if (exported := folder / "annotations.xml").is_file():
        return _recognise_xml(exported)
    if voc.is_voc(folder):
        return Format(folder, voc.voc_parts, voc.read_voc)
    jsons = files_below(folder, (".json",))
    if any(_is_labelme(path) for path in jsons[:_LOOKED_AT]):
        return Format(folder, labelme.labelme_parts, labelme.read_labelme)
    # Label Studio's export as YOLO has a notes.json beside its classes.txt
    if yolo.is_yolo(folder) and (not jsons or find_class_file(folder)):
        return _yolo(folder)
    if len(jsons) == 1:
        return recognise(jsons[0])
    if jsons:
        return Format(folder, _coco_parts, _read_coco_part)
    raise UserError(f"{folder} holds no labels of a known format: name {KNOWN}.")


def _is_labelme(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        if b'"shapes"' not in file.read(4096):  # before the picture that the file may hold
            return False
    try:
        return labelme.is_labelme(read_json(path))
    except UserError:
        return False


def _yolo(path: Path) -> Format:
    return Format(path, yolo.yolo_parts, yolo.read_yolo, yolo.read_yolo_categories)


def _first_character(path: Path) -> str:
    """Return the first character of a json file, in any Unicode encoding; "" where it is empty."""
    with open(path, "rb") as file:
        head = file.read(256).lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n")
    return chr(head[0]) if head else ""


def _no_parts(_: Path) -> list[str]:
    return []


def _read_label_studio(path: Path, image_root: Path | None, _: str) -> Source:
    return label_studio.read_label_studio(path, image_root)


def _read_coco_file(path: Path, image_root: Path | None, _: str) -> Source:
    return coco.read_coco_source(path, image_root)


def _coco_files(folder: Path) -> dict[str, Path]:
    """Return the json of each part, told by a folder's name or by the file's.

    Raises:
        UserError: one tells no part, or several tell the same.
    """
    found: dict[str, Path] = {}
    for path in files_below(folder, (".json",)):
        relative = path.relative_to(folder)
        part = parts.part_of_folders(relative) or parts.part_of_name(relative)
        if not part or part in found:
            raise UserError(f"{folder} holds several json files: name the one to read.")
        found[part] = path
    return found


def _coco_parts(folder: Path) -> list[str]:
    return parts.in_order(_coco_files(folder))


def _read_coco_part(folder: Path, image_root: Path | None, part: str) -> Source:
    return coco.read_coco_source(_coco_files(folder)[part], image_root)
