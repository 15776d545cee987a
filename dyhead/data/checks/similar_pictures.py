"""Finds pictures that are nearly the same: saved anew, resized, or frames of a standing camera.

Each picture is reduced to a thumbnail of 16 x 16 colours. Two are nearly the same if these, less
their mean colours, differ by little beside their contrast (the standard deviation). All pairs of
about the same brightness are compared, the mean colours of their quarters first.
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

# All of 255. A picture of less contrast is too blank to be compared.
_MIN_CONTRAST = 4.0
_MAX_SHIFT = 8.0  # difference of the brightness of two pictures
_MAX_IN_QUARTER = 8.0  # difference of the colours of a quarter, brightness apart
_MAX_DIFFERENCE = 4.0  # mean difference of the thumbnails, the mean colours apart
_MAX_SHARE = 0.14  # the same, as a share of their contrast
_BLOCK = 256  # pictures that are compared with all that may be near, at once
_PAIRS = 4096  # whose thumbnails are compared at once

Progress = Callable[[int, int], None]  # pictures done, pictures in all


def read_thumbnails(
    paths: Sequence[Path], progress: Progress | None = None
) -> tuple[np.ndarray, dict[int, OSError]]:
    """Read pictures as thumbnails, several at a time.

    Returns:
        (N, 16, 16, 3), uint8, RGB, and by index the errors of pictures that cannot be read.
    """
    thumbnails = np.zeros((len(paths), SIDE, SIDE, 3), np.uint8)
    errors: dict[int, OSError] = {}
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(paths), _CHUNK):
            chunk = pool.map(_read_thumbnail, paths[start : start + _CHUNK])
            for index, thumbnail in enumerate(chunk, start):
                if isinstance(thumbnail, OSError):
                    errors[index] = thumbnail
                else:
                    thumbnails[index] = thumbnail
            if progress is not None:
                progress(min(start + _CHUNK, len(paths)), len(paths))
    return thumbnails, errors


def _read_thumbnail(path: Path) -> np.ndarray | OSError:
    try:
        with open_picture(path) as image:
            image.draft("RGB", (_DRAFT, _DRAFT))
            picture = upright(image, str(path)).convert("RGB")
    except OSError as error:
        return error
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


def similar_pairs(thumbnails: np.ndarray) -> np.ndarray:
    """Find all pairs of thumbnails that are nearly the same.

    Args:
        thumbnails: (N, 16, 16, 3), uint8; equal ones given once are compared faster.

    Returns:
        (P, 2), indices, the lower one first.
    """
    contrasts = contrast(thumbnails)
    kept = np.nonzero(contrasts >= _MIN_CONTRAST)[0]
    half = SIDE // 2
    quarters = thumbnails[kept].reshape(len(kept), 2, half, 2, half, 3)
    colours = quarters.mean(axis=(2, 4), dtype=np.float32).reshape(len(kept), 4, 3)
    means = colours.mean(axis=(1, 2))
    shapes = (colours - colours.mean(axis=1, keepdims=True)).reshape(len(kept), 12)
    order = np.argsort(means, kind="stable")
    near = [
        pairs[_are_similar(pairs, thumbnails, contrasts)]
        for pairs in _candidates(means[order], shapes[order], kept[order])
    ]
    return np.sort(np.concatenate([np.empty((0, 2), np.int64), *near]), axis=1)


def contrast(thumbnails: np.ndarray) -> np.ndarray:
    """Compute the standard deviation of each thumbnail's channels from their means, (N,)."""
    found = np.empty(len(thumbnails), np.float32)
    for start in range(0, len(thumbnails), _PAIRS):  # few at a time, for the memory's sake
        part = thumbnails[start : start + _PAIRS].reshape(-1, SIDE * SIDE, 3)
        found[start : start + _PAIRS] = np.sqrt(part.var(axis=1, dtype=np.float32).mean(axis=1))
    return found


def _candidates(means: np.ndarray, shapes: np.ndarray, order: np.ndarray) -> Iterator[np.ndarray]:
    """Give pairs of near brightness and near quarters; pictures are sorted by their means."""
    ends = np.searchsorted(means, means + _MAX_SHIFT, side="right")
    for start in range(0, len(shapes), _BLOCK):
        rows = shapes[start : start + _BLOCK]
        columns = shapes[start : ends[start + len(rows) - 1]]
        is_near = np.abs(rows[:, None, 0] - columns[None, :, 0]) <= _MAX_IN_QUARTER
        first, second = np.nonzero(np.triu(is_near, 1))
        for channel in range(1, shapes.shape[1]):
            kept = np.abs(rows[first, channel] - columns[second, channel]) <= _MAX_IN_QUARTER
            first, second = first[kept], second[kept]
        kept = second + start < ends[first + start]
        first, second = order[first[kept] + start], order[second[kept] + start]
        for part in range(0, len(first), _PAIRS):
            yield np.stack([first[part : part + _PAIRS], second[part : part + _PAIRS]], axis=1)


def _are_similar(pairs: np.ndarray, thumbnails: np.ndarray, contrasts: np.ndarray) -> np.ndarray:
    first, second = pairs.T
    differences = thumbnails[first].astype(np.float32) - thumbnails[second]
    differences = differences.reshape(len(pairs), SIDE * SIDE, 3)
    differences -= differences.mean(axis=1, keepdims=True)
    limits = np.minimum(contrasts[first], contrasts[second]) * _MAX_SHARE
    return np.abs(differences).mean(axis=(1, 2)) <= np.minimum(limits, _MAX_DIFFERENCE)


def group_equal(thumbnails: np.ndarray) -> dict[bytes, list[int]]:
    """Group the indices of equal thumbnails, in their order."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, thumbnail in enumerate(thumbnails):
        groups[thumbnail.tobytes()].append(index)
    return groups
