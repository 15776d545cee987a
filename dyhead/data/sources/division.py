"""Divides a data set that has no parts of its own into train and val."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from dyhead.data.checks.values import read_id
from dyhead.data.sources.source import Source
from dyhead.errors import UserError

PARTS = ("train", "val")


@dataclass(frozen=True)
class Division:
    """The rule by which images go to val.

    Attributes:
        val_ratio: the share of the images, between 0 and 1.
        seed: another number gives another choice.
    """

    val_ratio: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the share.

        Raises:
            UserError: it leaves one part empty.
        """
        if not 0 < self.val_ratio < 1:
            raise UserError(f"DATASETS.VAL_RATIO is {self.val_ratio}: give a share from 0 to 1.")


def divide(source: Source, part: str, division: Division) -> Source:
    """Return one part of a data set; both together are the whole.

    Images that are nearly the same go to the same part. The choice follows from the images' names,
    the share and the seed, not from the order in the file or on the disk.

    Args:
        source: the whole.
        part: "train" or "val".
        division: share and seed.

    Raises:
        UserError: it has fewer than two images that differ.
    """
    images = [image for image in source.content["images"] if _has_name(image)]
    groups = near_groups(source, [image["file_name"] for image in images])
    if len(groups) < 2:
        raise UserError(
            f"{source.path} has {len(images)} images that are nearly the same, too few for"
            " train and val: name a data set for each."
        )
    names = sorted(groups, key=lambda group: _key(min(group), division.seed))
    held_out = _choose(names, max(1, round(division.val_ratio * len(images))))
    chosen = [i for i in source.content["images"] if _is_in(i, held_out) == (part == "val")]
    ids = {read_id(image.get("id")) for image in chosen if isinstance(image, dict)}
    others = {read_id(image.get("id")) for image in images} - ids - {None}
    annotations = [
        annotation
        for annotation in source.content["annotations"]
        if not isinstance(annotation, dict) or read_id(annotation.get("image_id")) not in others
    ]
    content = {**source.content, "images": chosen, "annotations": annotations}
    return replace(source, content=content, is_verbatim=False)


def near_groups(source: Source, names: Sequence[str]) -> list[list[str]]:
    """Group the names of images that are nearly the same; most groups are of one."""
    different = tuple(sorted(set(names)))
    groups = [[different[index] for index in g] for g in _groups(source.image_root, different)]
    grouped = {name for group in groups for name in group}
    return [*groups, *([name] for name in different if name not in grouped)]


@lru_cache(maxsize=4)
def _groups(folder: Path, names: tuple[str, ...]) -> list[list[int]]:
    """Compare the pixels once per process: a training and each evaluation ask anew."""
    from dyhead.data.checks.contents import near_duplicate_groups
    from dyhead.data.checks.file_names import find_files

    there = [name for name in names if os.path.isfile(folder / name)]
    missing = set(names).difference(there)
    found = find_files(missing, folder, there).found if missing else {}
    return near_duplicate_groups([folder / found.get(name, name) for name in names])


def _has_name(image: object) -> bool:
    return isinstance(image, dict) and isinstance(image.get("file_name"), str)


def _is_in(image: object, names: set[str]) -> bool:
    return isinstance(image, dict) and image.get("file_name") in names


def _key(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode(errors="surrogatepass")).hexdigest()


def _choose(groups: Sequence[Sequence[str]], wanted: int) -> set[str]:
    """Take groups in order while they fit, at least one and never all."""
    chosen: set[str] = set()
    for group in groups[:-1]:
        if len(chosen) + len(group) <= wanted:
            chosen |= set(group)
    smallest: Sequence[str] = min(groups, key=len)
    return chosen or set(smallest)
