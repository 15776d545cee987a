"""The layout of a YOLO data set: its class names, its parts and its pictures."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from dyhead.data.image_files import IMAGE_ENDINGS, files_below
from dyhead.data.sources import parts
from dyhead.data.sources.class_names import find_class_file, read_class_file, refuse_repeated
from dyhead.data.sources.text_files import read_lines, read_text
from dyhead.errors import UserError

_YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_PART_KEYS = ("train", "val", "valid", "test")
_NOTHING = ("", "~", "null", "Null", "NULL")  # how YAML writes it


@dataclass(frozen=True)
class YoloLayout:
    """A data set's description, in whatever way it is given.

    Attributes:
        base: the folder that paths start at.
        labels: the folder that was named: labels may lie there without their pictures.
        names: class names, by number.
        entries: part -> the folders, lists or pictures that it consists of; {}: all of `base`.
        has_key_points: more numbers than a box's are key points, not the corners of a polygon.
        absent: what was named for testing and is not there.
    """

    base: Path
    labels: Path
    names: Sequence[str]
    entries: dict[str, list[Path]]
    has_key_points: bool = False
    absent: Sequence[Path] = ()

    @property
    def part_names(self) -> list[str]:
        """List the parts."""
        if self.entries:
            return parts.in_order(self.entries)
        return parts.parts_of_files(p.relative_to(self.base) for p in self.pictures(""))

    def pictures(self, part: str) -> list[Path]:
        """List the pictures of a part, or of all where there are no parts, each once.

        Raises:
            UserError: a folder or a list of the part can't be read.
        """
        if self.entries:
            chosen = self.entries[part] if part else [p for e in self.entries.values() for p in e]
            return list(dict.fromkeys(each for entry in chosen for each in self._listed(entry)))
        found = files_below(self.base, IMAGE_ENDINGS)
        if part:
            return [p for p in found if parts.part_of_folders(p.relative_to(self.base)) == part]
        return found

    def _listed(self, entry: Path) -> list[Path]:
        if os.path.isdir(entry):
            return files_below(entry, IMAGE_ENDINGS)
        if entry.suffix.lower() == ".txt":
            return [self._placed(entry.parent, line) for line in read_lines(entry) if line]
        raise UserError(f"{self.base}: {entry} is neither a folder nor a list (.txt): correct it.")

    def _placed(self, folder: Path, line: str) -> Path:
        """Return the path of a line of a list; tools let them start at different folders."""
        path = Path(line.replace("\\", "/"))
        # CVAT and darknet begin with "data/", which is the data set's folder
        places = folder / path, self.base / path, self.base / Path(*path.parts[1:])
        candidates = chain(places, _inside(self.base, path))
        found = next((each for each in candidates if os.path.isfile(each)), folder / path)
        return Path(os.path.normpath(found))


def find_yaml(folder: Path) -> Path | None:
    """Return the description in a folder: data.yaml, or the only YAML file with class names."""
    named = [folder / name for name in _YAML_NAMES if (folder / name).is_file()]
    others = sorted(p for p in folder.glob("*.y*ml") if p.is_file() and "names:" in _head(p))
    return next(iter(named), others[0] if len(others) == 1 else None)


def read_layout(path: Path, image_root: Path | None) -> YoloLayout:
    """Read the description of a data set.

    Args:
        path: its YAML file, or its folder.
        image_root: where the pictures are; by default where the file says, or in the folder.

    Raises:
        UserError: it can't be read, or names no classes.
    """
    description = path if path.is_file() else find_yaml(path)
    if description is not None:
        return _from_yaml(description, image_root)
    names = find_class_file(path)
    if names is None:
        raise UserError(f"{path} has no data.yaml or classes.txt: write the class names into one.")
    lists: dict[str, list[Path]] = {}
    for key in _PART_KEYS:
        if (file := path / f"{key}.txt").is_file():
            lists.setdefault(parts.part_name(key), []).append(file)
    entries = lists if len(lists) > 1 else {}  # CVAT writes a list of all pictures, called train
    return YoloLayout(_without_dots(image_root or path), path, read_class_file(names), entries)


def _without_dots(folder: Path) -> Path:
    """Take ".." out of a path: those of pictures, which are compared with it as text, have none."""
    return Path(os.path.normpath(folder))


def _head(path: Path) -> str:
    try:
        return read_text(path)[:100_000]
    except UserError:
        return ""


def _from_yaml(path: Path, image_root: Path | None) -> YoloLayout:
    content = _load(path)
    base = _without_dots(image_root or _base(path, content.get("path")))
    entries: dict[str, list[Path]] = {}
    for key in _PART_KEYS:
        value = content.get(key)
        values = [value] if isinstance(value, str) else value or []
        if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
            raise UserError(f"{path}: {key} is {value!r}: give a folder, or a list of folders.")
        if found := [_resolve(base, each) for each in values if each not in _NOTHING]:
            entries.setdefault(parts.part_name(key), []).extend(found)
    if not entries:
        raise UserError(f"{path} names no folder of pictures: give it 'train' and 'val'.")
    absent = _take_absent_test(entries)
    has_key_points = "kpt_shape" in content
    return YoloLayout(base, path.parent, _names(path, content), entries, has_key_points, absent)


def _take_absent_test(entries: dict[str, list[Path]]) -> list[Path]:
    """Take out the part "test" if nothing of it is there: Roboflow names one that it left out."""
    there = {part for part, paths in entries.items() if any(os.path.exists(p) for p in paths)}
    return entries.pop("test", []) if there and "test" not in there else []


def _load(path: Path) -> dict[str, Any]:
    """Read a YAML file with all values as texts: a class may be called "no" or "1.0"."""
    try:
        content = yaml.load(read_text(path), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is no well-formed YAML ({reason}): correct it.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} describes no YOLO data set: give it 'names' and 'train'.")
    return content


def _names(path: Path, content: dict[str, Any]) -> list[str]:
    names = content.get("names")
    if isinstance(names, dict):
        numbers = {int(key): name for key, name in names.items() if str(key).isdecimal()}
        if len(numbers) == len(names) and sorted(numbers) == list(range(len(numbers))):
            names = [numbers[number] for number in range(len(numbers))]
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
        raise UserError(f"{path}: names has to list the class names, by number from 0.")
    count = content.get("nc", str(len(names)))
    if count != str(len(names)):
        raise UserError(f"{path}: nc is {count}, but names has {len(names)} classes: correct one.")
    return refuse_repeated(names, path)


def _base(path: Path, named: Any) -> Path:
    """Return the folder that `path:` of a data.yaml names, or the file's own."""
    if not isinstance(named, str) or named in _NOTHING:
        return path.parent
    given = Path(os.path.expanduser(named.replace("\\", "/")))
    # written on another machine, it may be nowhere on this one
    return next((p for p in (path.parent / given, given) if os.path.isdir(p)), path.parent)


def _resolve(base: Path, entry: str) -> Path:
    """Return the path of an entry, which another folder or machine may have been meant for.

    Roboflow writes ../train/images for train/images, or with the folder of its download in front.
    """
    path = Path(entry.replace("\\", "/"))
    candidates = chain((base / path,), _inside(base, path))
    found = next((each for each in candidates if os.path.exists(each)), base / path)
    return Path(os.path.normpath(found))


def _inside(base: Path, path: Path) -> Iterator[Path]:
    """Yield what a path may be in a folder without its first names.

    Two have to stay: images alone may be those of all parts, and a.jpg one in any of them.
    """
    names = [name for name in path.parts if name not in ("..", path.anchor)]
    return (base.joinpath(*names[first:]) for first in range(max(1, len(names) - 1)))
