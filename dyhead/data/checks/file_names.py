"""Finds the files of names that were written on another machine or by another tool.

Names of labelling tools have backslashes, escapes (%20), the other of Unicode's two forms of an
accented letter, another letter case, or folders of the machine where they were written.
"""

import difflib
import itertools
import os
import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from dyhead.data.image_files import walk_once

Parts = tuple[str, ...]  # of a path, folded: what is equal may name the same file


@dataclass(frozen=True)
class NameSearch:
    """The outcome of a search for names that no file has.

    Attributes:
        found: name -> the only file that fits, its path in the image folder with slashes.
        likely: name -> files that may be meant, for a message; for the first names only, and none
            for names of files that are there, outside the image folder.
    """

    found: dict[str, str]
    likely: dict[str, list[str]]


def leads_outside(name: str, image_root: Path) -> bool:
    """Tell if a file name leads out of the image folder, by its text: links are not looked at."""
    if ".." not in name and not os.path.isabs(name):
        return False
    path = os.path.normpath(os.path.join(os.path.abspath(image_root), name))
    return not Path(path).is_relative_to(os.path.abspath(image_root))


def find_files(
    names: Iterable[str], image_root: Path, taken: Collection[str], max_likely: int = 10
) -> NameSearch:
    """Look for the files of names that are not there as they are written.

    A file fits if it ends with the folders and the file name of the name, or the name with those of
    the file. One that fits several names, or is another image's own, is not taken.

    Args:
        names: of the images that were not found.
        image_root: the image folder; all that is below it is looked at.
        taken: files of other images, as their names are written.
        max_likely: for so many names files are looked for that may be meant.
    """
    by_file_name: dict[str, list[tuple[Parts, str]]] = defaultdict(list)
    for path in _files(image_root):
        parts = fold(path)
        by_file_name[parts[-1]].append((parts, path))
    fitting = {name: fitting_files(fold(name), by_file_name) for name in dict.fromkeys(names)}
    uses = Counter(files[0] for files in fitting.values() if len(files) == 1)
    own = {posixpath.normpath(name) for name in taken}
    found = {
        name: files[0]
        for name, files in fitting.items()
        if len(files) == 1 and uses[files[0]] == 1 and files[0] not in own
    }
    lost = (name for name in fitting if name not in found and not _exists(name, image_root))
    first = itertools.islice(lost, max_likely)
    likely = {name: fitting[name] or _similar(name, by_file_name) for name in first}
    return NameSearch(found, likely)


def _exists(name: str, image_root: Path) -> bool:
    try:
        return os.path.exists(os.path.join(image_root, name))
    except ValueError:  # no name of a file, such as one with a null character
        return False


def _files(image_root: Path) -> Iterable[str]:
    for folder, _, names in walk_once(image_root):
        inside = os.path.relpath(folder, image_root).replace(os.sep, "/")
        # A link may lead to no file.
        files = (name for name in names if os.path.isfile(os.path.join(folder, name)))
        yield from (posixpath.normpath(posixpath.join(inside, file)) for file in files)


def fold(name: str) -> Parts:
    """Bring a path to a form in which the same file has the same one on every machine."""
    text = unicodedata.normalize("NFC", unquote(name)).casefold().replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".", "..")]
    return tuple(parts) or ("",)


def fitting_files(wanted: Parts, by_file_name: dict[str, list[tuple[Parts, str]]]) -> list[str]:
    """List the files that fit best: of the most folders in common with the name."""
    common: dict[int, list[str]] = defaultdict(list)
    for parts, path in by_file_name.get(wanted[-1], []):
        length = min(len(parts), len(wanted))
        if parts[-length:] == wanted[-length:]:
            common[length].append(path)
    return sorted(common[max(common)]) if common else []


def _similar(name: str, by_file_name: dict[str, list[tuple[Parts, str]]]) -> list[str]:
    """List a few files of the same name in another folder, or of a similar name."""
    wanted = fold(name)[-1]
    nearest = difflib.get_close_matches(wanted, by_file_name, n=3, cutoff=0.8)
    names = [wanted] if wanted in by_file_name else nearest
    return [path for each in names for _, path in by_file_name[each]][:3]
