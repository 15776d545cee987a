"""Finds pictures that are nearly the same: saved anew, resized, or frames of a standing camera.

Each picture is reduced to a thumbnail of 16 x 16 colours. Two are nearly the same if these, less
their mean colours, differ by little beside their contrast (the standard deviation). Pairs of about
the same brightness are compared, the mean colours of their quarters first, as long as they would
tell something new.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from dyhead.data.checks.known_likeness import KnownLikeness
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


def find_similar(thumbnails: np.ndarray, known: KnownLikeness) -> None:
    """Find the thumbnails that are nearly the same, and add pairs of them to what is known.

    Args:
        thumbnails: (N, 16, 16, 3), uint8; equal ones given once are compared faster.
        known: is told the pairs of indices, the lower one first. Those that are not new to it are
            not compared.
    """
    contrasts = contrast(thumbnails)
    kept = np.nonzero(contrasts >= _MIN_CONTRAST)[0]
    half = SIDE // 2
    quarters = thumbnails[kept].reshape(len(kept), 2, half, 2, half, 3)
    colours = quarters.mean(axis=(2, 4), dtype=np.float32).reshape(len(kept), 4, 3)
    means = colours.mean(axis=(1, 2))
    shapes = (colours - colours.mean(axis=1, keepdims=True)).reshape(len(kept), 12)
    order = np.argsort(means, kind="stable")
    for block in _candidates(means[order], shapes[order], kept[order], known):
        for start in range(0, len(block), _PAIRS):
            pairs = block[start : start + _PAIRS]
            pairs = pairs[known.is_new(pairs[:, 0], pairs[:, 1])]
            known.add(pairs[_are_similar(pairs, thumbnails, contrasts)])


def contrast(thumbnails: np.ndarray) -> np.ndarray:
    """Compute the standard deviation of each thumbnail's channels from their means, (N,)."""
    found = np.empty(len(thumbnails), np.float32)
    for start in range(0, len(thumbnails), _PAIRS):  # few at a time, for the memory's sake
        part = thumbnails[start : start + _PAIRS].reshape(-1, SIDE * SIDE, 3)
        found[start : start + _PAIRS] = np.sqrt(part.var(axis=1, dtype=np.float32).mean(axis=1))
    return found


def _candidates(
    means: np.ndarray, shapes: np.ndarray, order: np.ndarray, known: KnownLikeness
) -> Iterator[np.ndarray]:
    """Give blocks of new pairs of near brightness and near quarters.

    Those of the lowest indices come first: most pictures of a long row need no other.

    Args:
        means: (N,) brightness, rising.
        shapes: (N, 12) colours of the quarters, brightness apart.
        order: (N,) indices of the thumbnails.
        known: see `find_similar`.
    """
    ends = np.searchsorted(means, means + _MAX_SHIFT, side="right")
    for start in range(0, len(shapes), _BLOCK):
        rows = slice(start, start + _BLOCK)
        columns = slice(start, ends[rows][-1])
        is_near = np.abs(shapes[rows, None, 0] - shapes[None, columns, 0]) <= _MAX_IN_QUARTER
        is_near &= known.is_new(order[rows, None], order[None, columns])
        first, second = np.nonzero(np.triu(is_near, 1))
        first, second = first + start, second + start
        for channel in range(1, shapes.shape[1]):
            kept = np.abs(shapes[first, channel] - shapes[second, channel]) <= _MAX_IN_QUARTER
            first, second = first[kept], second[kept]
        kept = second < ends[first]
        pairs = np.sort(np.stack([order[first[kept]], order[second[kept]]], axis=1), axis=1)
        yield pairs[np.argsort(pairs[:, 0], kind="stable")]


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
