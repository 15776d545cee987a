"""Finds files of the same content: by their sizes first, so that few of them are read."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_READERS = 8  # threads
_SAMPLE = 4096  # bytes from the middle of a file, which tell most files of one size apart


def same_files(paths: Sequence[Path]) -> list[list[int]]:
    """Group the files of the same content; groups of one are left out.

    Links to one file are one file, and read once. Files that cannot be read are in no group.

    Returns:
        indices of `paths`, in order within each group; groups in the order of their first.
    """
    links: dict[Any, list[int]] = defaultdict(list)  # by the file that they lead to
    with ThreadPoolExecutor(_READERS) as pool:
        for index, file in enumerate(pool.map(_identify, paths)):
            if file is not None:
                links[file].append(index)
        files = [(file[-1], indices[0]) for file, indices in links.items()]
        first = {indices[0]: indices for indices in links.values()}
        for read in (_sample, _digest):  # of those that were equal so far
            equal = [index for group in _groups(files) if len(group) > 1 for index in group]
            of_size = {index: key for key, index in files}
            contents = pool.map(read, (paths[index] for index in equal))
            known = {i: (of_size[i], content) for i, content in zip(equal, contents, strict=True)}
            files = [(known.get(index, (key, index)), index) for key, index in files]
    merged = [sorted(i for index in group for i in first[index]) for group in _groups(files)]
    return sorted(group for group in merged if len(group) > 1)


def _groups(keyed: Iterable[tuple[Any, int]]) -> list[list[int]]:
    """Group indices of equal keys."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for key, index in keyed:
        groups[key].append(index)
    return list(groups.values())


def _identify(path: Path) -> tuple[int, int, int] | None:
    """Return device, number and size of the file that a path leads to, None where there is none."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size) if path.is_file() else None


def _reader(read: Callable[[Any], bytes]) -> Callable[[Path], bytes | Path]:
    def read_or_tell_apart(path: Path) -> bytes | Path:
        try:
            with path.open("rb") as file:
                return read(file)
        except OSError:
            return path

    return read_or_tell_apart


@_reader
def _sample(file: Any) -> bytes:
    file.seek(file.seek(0, 2) // 2)
    return file.read(_SAMPLE)


@_reader
def _digest(file: Any) -> bytes:
    digest = hashlib.blake2b()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.digest()
