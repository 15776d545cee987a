"""Tells whether the data sets that two configs name are the same, by their label files."""

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dyhead.d2.config import CfgNode
from dyhead.data.coco_json import named_sources
from dyhead.data.sources.parts import MARK, split_path

_WITH_LABELS = (".json", ".xml")  # files that hold all labels themselves
_BLOCK = 2**20  # bytes that are read at a time


@dataclass(frozen=True, order=True)
class NamedData:
    """A data set as a config names it; equal for one place, and for copies of a label file.

    Attributes:
        content: a digest of its label file, or its path where it has many or none is there, or
            its name where the config does not say where it is; with its part and how that is made.
        place: its path or name.
    """

    content: str
    place: str = field(compare=False)


def named_data(cfg: CfgNode, names: Iterable[str]) -> tuple[NamedData, ...]:
    """Describe data sets of a config; their order does not count.

    Args:
        cfg: of a run.
        names: of DATASETS.TRAIN or DATASETS.TEST.
    """
    paths = {name: path for name, path, *_ in named_sources(cfg)}
    return tuple(sorted({_describe(paths.get(name, name), cfg, name in paths) for name in names}))


def difference(first: Iterable[NamedData], second: Iterable[NamedData]) -> str:
    """Say in a clause what `second` has otherwise; "" where both are the same data."""
    own, others = set(first), set(second)
    if own == others:
        return ""
    new, gone = ([each.place for each in sorted(s)] for s in (others - own, own - others))
    if sorted(new) == sorted(gone):
        return f"{', '.join(new)} is divided otherwise"
    return f"{', '.join(new) or 'nothing'} in the place of {', '.join(gone) or 'nothing'}"


def _describe(place: str, cfg: CfgNode, is_path: bool) -> NamedData:
    if not is_path:
        return NamedData(place, place)
    path, part = split_path(Path(place))
    content = (_digest(path) if path.suffix.lower() in _WITH_LABELS else "") or str(path)
    if part:
        data = cfg.DATASETS
        content = f"{content}{MARK}{part} {data.VAL_RATIO} {data.SPLIT_SEED}"
    return NamedData(content, place)


def _digest(path: Path) -> str:
    """Hash a file; "" where it cannot be read."""
    try:
        found = path.stat()
        return _digest_of(path, found.st_size, found.st_mtime_ns)
    except OSError:
        return ""


@functools.cache  # runs of the same data name the same files
def _digest_of(path: Path, _size: int, _changed: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
