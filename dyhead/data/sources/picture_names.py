"""Finds the picture that a label file belongs to."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from dyhead.data.image_files import IMAGE_ENDINGS, files_below

_IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "imgs", "img")


class PictureNames:
    """The pictures below a folder, by name and by name without its ending."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = [path.relative_to(root).as_posix() for path in _pictures(root)]
        self._known = set(self.names)
        self._by_stem = _grouped((_without_ending(name), name) for name in self.names)
        self._by_last = _grouped((PurePosixPath(name).stem, name) for name in self.names)

    def find(self, name: str) -> str:
        """Return the path of a picture relative to the folder; "" where it is not there.

        Args:
            name: a relative path, or an end of it if only one picture has it.
        """
        name = name.replace("\\", "/").removeprefix("./")
        if name in self._known:
            return name
        same = self._by_last.get(PurePosixPath(name).stem, [])
        tails = [each for each in same if PurePosixPath(each).name == PurePosixPath(name).name]
        return tails[0] if len(tails) == 1 else ""

    def find_for(self, label: Path) -> str:
        """Return the picture of a label file by its relative path, its ending aside; or ""."""
        same = self._by_stem.get(_without_ending(label.as_posix()), [])
        same = same or self._by_last.get(label.stem, [])
        return same[0] if len(same) == 1 else ""


def image_folder(folder: Path) -> Path:
    """Return the usual place of pictures in a data set's folder: a folder in it, or itself."""
    return next((folder / name for name in _IMAGE_FOLDERS if (folder / name).is_dir()), folder)


def _pictures(root: Path) -> list[Path]:
    return files_below(root, IMAGE_ENDINGS)


def _without_ending(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for key, name in pairs:
        groups[key].append(name)
    return groups
