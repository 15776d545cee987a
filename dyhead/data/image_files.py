"""Lists the image files of a folder."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

IMAGE_ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def files_below(folder: Path, endings: Collection[str]) -> list[Path]:
    """List the files below a folder that have one of some endings, sorted by path.

    Hidden files and folders are left out. Links are followed, but lead to no folder twice.

    Args:
        folder: its path begins those of the files.
        endings: in small letters, with their dots; a file's own may be in any case.
    """
    return sorted(path for path in _walk(folder) if path.suffix.lower() in endings)


def _walk(folder: Path) -> Iterator[Path]:
    for parent, subfolders, files in walk_once(folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def walk_once(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk as `os.walk` does from the top, through links too, but through every folder once.

    Links are followed last, so that a folder below has its own name.

    Yields:
        a folder, the names of its folders, of which the caller may take some out, and of its files.
    """
    visited: set[str] = set()
    tops = [os.fspath(folder)]  # grows by links
    for top in tops:
        for parent, subfolders, files in os.walk(top):
            real = os.path.realpath(parent)
            if real in visited:
                subfolders.clear()
                continue
            visited.add(real)
            subfolders.sort()
            yield parent, subfolders, files
            tops += filter(os.path.islink, (os.path.join(parent, name) for name in subfolders))
