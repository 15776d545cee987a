"""Lists the image files of a folder."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

IMAGE_ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def files_below(folder: Path, endings: Collection[str]) -> list[Path]:
    """List the files below a folder that have one of some endings, sorted by path.

    Hidden files and folders are left out. Links are followed, but not back to a folder above.

    Args:
        folder: its path begins those of the files.
        endings: in small letters, with their dots; a file's own may be in any case.
    """
    return sorted(path for path in _walk(folder) if path.suffix.lower() in endings)


def _walk(folder: Path) -> Iterator[Path]:
    visited = set()
    for parent, subfolders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:  # a link back to a folder above
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(parent, name) for name in files if not name.startswith("."))
