"""Groups and lowest pictures are those that all pairs tell, and few pairs are compared for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from similar_pairs import similar_pairs

from dyhead.data.checks import CheckReport, contents, similar_pictures
from dyhead.data.checks.contents import PictureSet, check_contents, near_duplicate_groups

Check = Callable[[np.ndarray, list[int]], None]


def drifting(number: int, drift: np.ndarray) -> np.ndarray:
    """Frames of a standing camera whose brightness changes, by `drift` (number,)."""
    generator = np.random.default_rng(0)
    scene = generator.integers(60, 190, (1, 16, 16, 3))
    frames = scene + generator.integers(-2, 3, (number, 16, 16, 3))
    return (frames + drift.round().astype(int)[:, None, None, None]).astype(np.uint8)


def scattered(seed: int, number: int = 300) -> np.ndarray:
    """Pictures of which some are equal, some nearly the same as others, and some as those."""
    generator = np.random.default_rng(seed)
    scenes = generator.integers(0, 256, (40, 16, 16, 3))
    noise = generator.integers(-4, 5, (number, 16, 16, 3))
    noise *= generator.integers(0, 4, (number, 1, 1, 1))
    chosen = generator.integers(0, 40, number)
    return (scenes[chosen] + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[np.ndarray], list[Path]]:
    """Give pictures by their thumbnails."""

    def show(thumbnails: np.ndarray) -> list[Path]:
        monkeypatch.setattr(contents, "read_thumbnails", lambda *_: (thumbnails, {}))
        return [Path(str(number)) for number in range(len(thumbnails))]

    return show


def found_in(paths: list[Path], sizes: list[int]) -> tuple[CheckReport, list[str]]:
    """Check sets of so many pictures, and say what was found, picture and example."""
    ends = np.cumsum([0, *sizes]).tolist()
    sets = [
        PictureSet(str(number), Path(), [path.name for path in paths[start:end]])
        for number, (start, end) in enumerate(zip(ends[:-1], ends[1:], strict=True))
    ]
    report = CheckReport("pictures")
    check_contents(sets, report)
    items = [item.description for found in report.findings.values() for item in found]
    return report, items


@pytest.mark.parametrize("seed", range(3))
def test_groups_are_what_all_pairs_join(
    shown: Callable[[np.ndarray], list[Path]], seed: int
) -> None:
    thumbnails = scattered(seed)
    group = np.arange(len(thumbnails))
    pairs = similar_pairs(thumbnails)
    for first, second in pairs:
        group[group == group[second]] = group[first]
    expected = [np.flatnonzero(group == each).tolist() for each in np.unique(group)]
    expected = sorted(each for each in expected if len(each) > 1)
    assert len(expected) > 10 and len(pairs) > sum(map(len, expected))
    assert near_duplicate_groups(shown(thumbnails)) == expected


@pytest.mark.parametrize("sizes", [[300], [180, 120], [100, 120, 80], [100, 0, 200]])
def test_each_picture_is_reported_with_the_first_one_that_it_is_like(
    shown: Callable[[np.ndarray], list[Path]], sizes: list[int]
) -> None:
    thumbnails = scattered(7)
    starts = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    like: dict[int, list[int]] = {number: [] for number in range(300)}
    for first, second in similar_pairs(thumbnails):
        like[second].append(first)
    expected = set()
    for number, earlier in like.items():
        within = [each for each in earlier if each >= starts[number]]
        before = [each for each in earlier if each < starts[number]]
        expected |= {(number, min(each)) for each in (within, before) if each}
    _, items = found_in(shown(thumbnails), sizes)
    found = [tuple(int(part.split(" ")[0]) for part in item.split(" and ")) for item in items]
    assert len(found) == len(set(found)) > 100 and set(found) == expected


@pytest.mark.parametrize("drift", [0, -6, 6])
@pytest.mark.parametrize("use", ["groups", "one set", "two sets"])
def test_frames_of_a_standing_camera_are_compared_with_few_others(
    shown: Callable[[np.ndarray], list[Path]],
    monkeypatch: pytest.MonkeyPatch,
    drift: int,
    use: str,
) -> None:
    compared = 0
    compare = similar_pictures._are_similar

    def count(pairs: np.ndarray, *others: np.ndarray) -> np.ndarray:
        nonlocal compared
        compared += len(pairs)
        return compare(pairs, *others)

    monkeypatch.setattr(similar_pictures, "_are_similar", count)
    paths = shown(drifting(1000, np.linspace(0, drift, 1000)))
    if use == "groups":
        assert near_duplicate_groups(paths) == [list(range(1000))]
    else:
        report, _ = found_in(paths, [1000] if use == "one set" else [600, 400])
        expected = {"similar-picture": 999}
        if use == "two sets":
            expected = {"similar-picture": 998, "similar-picture-in-train": 400}
        assert {kind.name: number for kind, number in report.counts.items()} == expected
    assert 999 <= compared < 30_000, "of 499,500 pairs"
