"""Finds the picture that a label file belongs to."""

import posixpath
from collections import defaultdict
from pathlib import Path, PurePosixPath

from dyhead.data.checks import kinds
from dyhead.data.checks.file_names import Parts, fitting_files, fold
from dyhead.data.checks.report import CheckReport, Item
from dyhead.data.image_files import IMAGE_ENDINGS, files_below

_IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "imgs", "img")
# Folders that say what kind of file is in them: labels in one belong to pictures in another.
_KINDS_OF_FILES = {
    *("annotation", "annotations", "annots", "ann", "labels", "label", "labelme", "voc"),
    *("xml", "xmls", "json", "jsons", "image", "images", "jpegimages", "img", "imgs"),
    *("picture", "pictures", "pics", "photos", "data"),
}


class PictureNames:
    """The pictures below a folder, by name and by name without its ending."""

    def __init__(self, root: Path, report: CheckReport) -> None:
        """List the pictures.

        Args:
            root: the folder.
            report: takes names that are written in another way than the file's.
        """
        self._report = report
        self._reported: set[str] = set()
        self._names = {path.relative_to(root).as_posix() for path in _pictures(root)}
        self._by_label: dict[str, list[str]] = defaultdict(list)
        self._by_name: dict[str, list[tuple[Parts, str]]] = defaultdict(list)
        self._by_stem: dict[str, list[tuple[Parts, str]]] = defaultdict(list)
        for name in sorted(self._names):
            stem = _without_ending(name)
            self._by_label[stem].append(name)
            for text, names in ((name, self._by_name), (stem, self._by_stem)):
                parts = _parts(text)
                names[parts[-1]].append((parts, name))

    def find(self, name: str) -> str:
        """Return the path of a picture relative to the folder; "" where it is not there.

        Args:
            name: a relative path. It may have more or fewer folders in front, but no others: the
                same file name in another folder is another picture.
        """
        name = posixpath.normpath(name.replace("\\", "/"))
        if name in self._names:
            return name
        return self._only(name, name, self._by_name)

    def find_for(self, label: Path) -> str:
        """Return the picture of a label file by its relative path, its ending aside; or ""."""
        stem = _without_ending(label.as_posix())
        same = self._by_label.get(stem, [])
        return same[0] if len(same) == 1 else self._only(label.as_posix(), stem, self._by_stem)

    def _only(self, name: str, key: str, names: dict[str, list[tuple[Parts, str]]]) -> str:
        """Return the only picture that fits, "" if there is none or several."""
        found = fitting_files(_parts(key), names)
        if len(found) != 1:
            return ""
        is_other = PurePosixPath(name).stem != PurePosixPath(found[0]).stem  # case, Unicode's form
        if is_other and found[0] not in self._reported:
            self._reported.add(found[0])
            self._report.add(kinds.FILE_NAME, Item(f"{name}: {found[0]}", found[0]))
        return found[0]


def image_folder(folder: Path) -> Path:
    """Return the usual place of pictures in a data set's folder: a folder in it, or itself."""
    return next((folder / name for name in _IMAGE_FOLDERS if (folder / name).is_dir()), folder)


def _pictures(root: Path) -> list[Path]:
    return files_below(root, IMAGE_ENDINGS)


def _without_ending(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _parts(name: str) -> Parts:
    """Return the parts of a path, without the folders that every data set has."""
    *folders, last = fold(name)
    return (*(folder for folder in folders if folder not in _KINDS_OF_FILES), last)
