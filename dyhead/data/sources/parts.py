"""The parts of a data set (train, val, test): their names in paths, and the choice of one."""

import re
from collections.abc import Iterable
from pathlib import Path

_PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
MARK = "#"


def split_path(path: Path) -> tuple[Path, str]:
    """Split `cells#val` into the path and the name of a part; "" where it names none."""
    head, mark, part = str(path).rpartition(MARK)
    if not mark or not head or "/" in part or "\\" in part or path.exists():
        return path, ""
    return Path(head), part_name(part) or part


def part_name(word: str) -> str:
    """Return "train", "val" or "test" for their common spellings, and "" for other words."""
    return _PARTS.get(word.lower(), "")


def part_of_folders(file: Path) -> str:
    """Return the part that a folder of a relative path is named after; "" where none is."""
    return next((name for folder in file.parts[:-1] if (name := part_name(folder))), "")


def part_of_name(file: Path) -> str:
    """Return the part that a word of a file's name tells, such as instances_val2017.json."""
    words = re.split(r"[^a-z]+", file.stem.lower())
    return next((name for word in words if (name := part_name(word))), "")


def in_order(parts: Iterable[str]) -> list[str]:
    """Sort names of parts: train, val and test first; each once."""
    order = list(dict.fromkeys(_PARTS.values()))
    return sorted(set(parts), key=lambda part: (order.index(part) if part in order else 9, part))


def parts_of_files(files: Iterable[Path]) -> list[str]:
    """List the parts whose folders hold files (relative paths); [] unless each file is in one."""
    found = {part_of_folders(file) for file in files}
    return [] if "" in found else in_order(found)
