"""Finds pictures that are nearly the same: saved anew, resized, or frames of a standing camera.

Each picture is reduced to a thumbnail of 16 x 16 colours. Two are nearly the same if their
thumbnails differ by little beside their own contrast; all pairs are compared, the mean colours of
the four quarters first.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from dyhead.picture_files import open_picture, upright

SIDE = 16  # of a thumbnail, pixels
_READERS = 8  # threads
_CHUNK = 64  # pictures between two calls of a progress function
_DRAFT = 128  # pixels: JPEG files are decoded at an eighth of their size, but not below this

# Mean difference of two thumbnails, of 255: at most this, and this share of their contrast (the
# standard deviation).
_MAX_DIFFERENCE = 2.5
_MAX_SHARE = 0.06
_MAX_IN_QUARTER = 10.0  # difference of the mean of a quarter, in a channel
_BLOCK = 256  # pictures that are compared with all that may be near, at once
_PAIRS = 4096  # whose thumbnails are compared at once

Progress = Callable[[int, int], None]  # pictures done, pictures in all


def read_thumbnails(
    paths: Sequence[Path], progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read pictures as thumbnails, several at a time.

    Returns:
        (N, 16, 16, 3), uint8, RGB, and (N,), bool: False where a picture cannot be read.
    """
    thumbnails = np.zeros((len(paths), SIDE, SIDE, 3), np.uint8)
    are_read = np.zeros(len(paths), bool)
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(paths), _CHUNK):
            chunk = pool.map(_read_thumbnail, paths[start : start + _CHUNK])
            for index, thumbnail in enumerate(chunk, start):
                if thumbnail is not None:
                    thumbnails[index], are_read[index] = thumbnail, True
            if progress is not None:
                progress(min(start + _CHUNK, len(paths)), len(paths))
    return thumbnails, are_read


def _read_thumbnail(path: Path) -> np.ndarray | None:
    try:
        with open_picture(path) as image:
            image.draft("RGB", (_DRAFT, _DRAFT))
            picture = upright(image, str(path)).convert("RGB")
    except OSError:
        return None
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


def similar_pairs(thumbnails: np.ndarray) -> np.ndarray:
    """Find all pairs of thumbnails that are nearly the same.

    Args:
        thumbnails: (N, 16, 16, 3), uint8; equal ones given once are compared faster.

    Returns:
        (P, 2), indices, the lower one first.
    """
    if len(thumbnails) < 2:
        return np.empty((0, 2), np.int64)
    half = SIDE // 2
    quarters = thumbnails.reshape(-1, 2, half, 2, half, 3).mean(axis=(2, 4), dtype=np.float32)
    quarters = quarters.reshape(len(thumbnails), -1)
    order = np.argsort(quarters.mean(axis=1), kind="stable")
    contrasts = thumbnails.reshape(len(thumbnails), -1).std(axis=1, dtype=np.float32)
    near = [
        pairs[_are_similar(pairs, thumbnails, contrasts)]
        for pairs in _candidates(quarters[order], order)
    ]
    pairs = np.concatenate([np.empty((0, 2), np.int64), *near])
    return np.sort(pairs, axis=1)


def _candidates(quarters: np.ndarray, order: np.ndarray) -> Iterator[np.ndarray]:
    """Give pairs whose quarters' mean colours are near; pictures are sorted by their means."""
    means = quarters.mean(axis=1)
    # means differ by no more than pixels do at the mean
    ends = np.searchsorted(means, means + 1.01 * _MAX_DIFFERENCE, side="right")
    for start in range(0, len(quarters), _BLOCK):
        rows = quarters[start : start + _BLOCK]
        columns = quarters[start : ends[min(start + _BLOCK, len(quarters)) - 1]]
        is_near = np.abs(rows[:, None, 0] - columns[None, :, 0]) <= _MAX_IN_QUARTER
        first, second = np.nonzero(np.triu(is_near, 1))
        for channel in range(1, quarters.shape[1]):
            kept = np.abs(rows[first, channel] - columns[second, channel]) <= _MAX_IN_QUARTER
            first, second = first[kept], second[kept]
        for part in range(0, len(first), _PAIRS):
            here = slice(part, part + _PAIRS)
            yield np.stack([order[first[here] + start], order[second[here] + start]], axis=1)


def _are_similar(pairs: np.ndarray, thumbnails: np.ndarray, contrasts: np.ndarray) -> np.ndarray:
    first, second = pairs.T
    differences = np.abs(thumbnails[first].astype(np.int16) - thumbnails[second])
    mean = differences.reshape(len(pairs), -1).mean(axis=1)
    contrast = np.minimum(contrasts[first], contrasts[second])
    return mean <= np.minimum(_MAX_DIFFERENCE, _MAX_SHARE * contrast)


def group_equal(thumbnails: np.ndarray) -> dict[bytes, list[int]]:
    """Group the indices of equal thumbnails, in their order."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, thumbnail in enumerate(thumbnails):
        groups[thumbnail.tobytes()].append(index)
    return groups
