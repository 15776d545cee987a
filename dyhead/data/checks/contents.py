"""Compares the pictures of one or several data sets: the same ones, and those nearly the same.

Within a set they count twice. In the set for training and in the one for validation they make the
score of the latter one of memory.
"""

import bisect
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dyhead.data.checks import kinds
from dyhead.data.checks.kinds import Kind
from dyhead.data.checks.known_likeness import JoinedPictures, LowestLike
from dyhead.data.checks.report import CheckReport, Item
from dyhead.data.checks.same_files import same_files
from dyhead.data.checks.similar_pictures import (
    Progress,
    find_similar,
    group_equal,
    read_thumbnails,
)


@dataclass(frozen=True)
class PictureSet:
    """The pictures of a data set.

    Attributes:
        name: what it is called, such as "train".
        image_root: the folder that its file names are relative to.
        file_names: of its images.
        undecodable: file name -> why its pixels cannot be read; filled in where they are looked at.
    """

    name: str
    image_root: Path
    file_names: Sequence[str]
    undecodable: dict[str, str] = field(default_factory=dict)


def check_contents(
    sets: Sequence[PictureSet],
    report: CheckReport,
    progress: Progress | None = None,
    by_pixels: bool = True,
) -> None:
    """Count the pictures that are in a set, or in an earlier set, already.

    A picture counts once for its own set and once for the earlier ones, as the same as another one
    if it is, else as nearly the same. Files that are listed twice in a set count once.

    Args:
        sets: the first one is that for training.
        report: takes what is found.
        progress: called now and then with the number of pictures that were read, and of all.
        by_pixels: look for pictures that are nearly the same too, and decode all of them.
    """
    pictures = _Pictures(sets)
    same = same_files(pictures.paths)
    pictures.report(_neighbours(same), kinds.SAME_PICTURE, kinds.LEAKED_PICTURE, report)
    if by_pixels:
        thumbnails, errors = read_thumbnails(pictures.paths, progress)
        pictures.note(errors)
        similar = _similar_neighbours(thumbnails, errors, pictures.sets)
        pictures.report(similar, kinds.SIMILAR_PICTURE, kinds.SIMILAR_LEAK, report)


def near_duplicate_groups(
    paths: Sequence[Path], progress: Progress | None = None
) -> list[list[int]]:
    """Group the pictures that are nearly the same, or the same; groups of one are left out.

    Where each is like the next, as in a video, the first and the last may differ much.

    Args:
        paths: picture files; those that cannot be read are in no group.
        progress: called now and then with the number of pictures that were read, and of all.

    Returns:
        indices of `paths`, in order within each group; groups in the order of their first.
    """
    thumbnails, errors = read_thumbnails(paths, progress)
    equal = _readable_equals(thumbnails, errors)
    brightness = thumbnails[_firsts(equal)].mean(axis=(1, 2, 3))
    # of a block the lowest are compared first: the darkest with all others
    equal = [equal[number] for number in np.argsort(brightness, kind="stable")]
    joined = JoinedPictures(len(equal))
    find_similar(thumbnails[_firsts(equal)], joined)
    groups: dict[int, list[int]] = defaultdict(list)
    for root, group in zip(joined.roots.tolist(), equal, strict=True):
        groups[root].extend(group)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


Neighbours = Mapping[int, Sequence[int]]  # picture -> sorted list of its like


def _neighbours(groups: Sequence[Sequence[int]]) -> Neighbours:
    return {index: group for group in groups for index in group}


def _similar_neighbours(
    thumbnails: np.ndarray, unreadable: Container[int], sets: Sequence[int]
) -> Neighbours:
    equal = _readable_equals(thumbnails, unreadable)
    lowest = LowestLike(equal, sets)
    find_similar(thumbnails[_firsts(equal)], lowest)
    return {index: lowest.of(number) for number, group in enumerate(equal) for index in group}


def _readable_equals(thumbnails: np.ndarray, unreadable: Container[int]) -> list[list[int]]:
    """Group the indices of equal thumbnails, without those of pictures that cannot be read."""
    groups = ([i for i in g if i not in unreadable] for g in group_equal(thumbnails).values())
    return [group for group in groups if group]


def _firsts(groups: Sequence[Sequence[int]]) -> np.ndarray:
    return np.array([group[0] for group in groups], np.int64)


class _Pictures:
    """The pictures of all sets, one after the other, each file of a set once."""

    def __init__(self, sets: Sequence[PictureSet]) -> None:
        self._sets = sets
        self._names: list[str] = []
        self._starts: list[int] = []
        self.sets: list[int] = []
        self.paths: list[Path] = []
        self._counted: set[tuple[int, bool]] = set()
        for number, each in enumerate(sets):
            self._starts.append(len(self.paths))
            for name in dict.fromkeys(each.file_names):
                self._names.append(name)
                self.sets.append(number)
                self.paths.append(each.image_root / name)

    def report(
        self, neighbours: Neighbours, within: Kind, between: Kind, report: CheckReport
    ) -> None:
        """Count each picture that has an earlier neighbour in its own set, or in earlier ones."""
        for index in sorted(neighbours):
            start = self._starts[self.sets[index]]
            for is_leak, kind, low, high in (
                (False, within, start, index),
                (True, between, 0, start),
            ):
                earlier = _first_between(neighbours[index], low, high)
                if earlier is not None and (index, is_leak) not in self._counted:
                    self._counted.add((index, is_leak))
                    description = f"{self._name(index)} and {self._name(earlier)}"
                    pair = (self.paths[index], self.paths[earlier])
                    report.add(kind, Item(description, self._names[index], pictures=pair))

    def note(self, errors: Mapping[int, OSError]) -> None:
        """Tell the sets which of their pictures cannot be decoded."""
        for index, error in sorted(errors.items()):
            self._sets[self.sets[index]].undecodable[self._names[index]] = str(error)

    def _name(self, index: int) -> str:
        set_name = self._sets[self.sets[index]].name
        return f"{self._names[index]} ({set_name})" if len(self._sets) > 1 else self._names[index]


def _first_between(numbers: Sequence[int], low: int, high: int) -> int | None:
    """Return the lowest of sorted numbers from `low` on and below `high`."""
    place = bisect.bisect_left(numbers, low)
    return numbers[place] if place < len(numbers) and numbers[place] < high else None
