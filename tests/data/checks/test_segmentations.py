"""Boxes around polygons and masks are those of pycocotools and of the pixels."""

import numpy as np
import pycocotools.mask as mask_util
import pytest

from dyhead.data.checks.segmentations import box_of

WIDTH, HEIGHT = 60, 40


@pytest.fixture
def mask():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[7:19, 11:30] = 1
    mask[25, 41] = 1
    return mask


def test_the_box_of_polygons_holds_all_their_points():
    polygons = [[8, 16, 26.5, 16, 26, 39, 8, 39], [30, 2, 31, 2, 31, 3]]
    assert box_of(polygons, WIDTH, HEIGHT) == [8, 2, 23, 37]
    assert box_of(polygons[0], WIDTH, HEIGHT) == [8, 16, 18.5, 23], "one polygon without its list"
    assert box_of([["8", "16", "26", "16", "26", "39"]], WIDTH, HEIGHT) == [8, 16, 18, 23]


def test_the_box_of_a_mask_holds_its_pixels(mask):
    rows, columns = np.nonzero(mask)
    expected = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    compressed = mask_util.encode(mask)
    text = compressed["counts"].decode("ascii")
    assert box_of({"size": [HEIGHT, WIDTH], "counts": text}, WIDTH, HEIGHT) == expected

    pixels = np.concatenate([[0], mask.ravel(order="F"), [2]])
    changes = np.flatnonzero(np.diff(pixels))
    runs = np.diff(np.concatenate([[0], changes])).tolist()
    assert sum(runs) == WIDTH * HEIGHT
    assert box_of({"size": [HEIGHT, WIDTH], "counts": runs}, WIDTH, HEIGHT) == expected


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [],
        [[]],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5]],
        [[1, 2, 3, 4, 5, None]],
        [[1, 2, 3, 4, 5, 6], 7],
        ["8", "16"],
        "polygon",
        {},
        {"size": [HEIGHT, WIDTH], "counts": []},
        {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]},
        {"size": [HEIGHT, WIDTH], "counts": [-5, HEIGHT * WIDTH + 5]},
        {"size": [HEIGHT, WIDTH], "counts": [10, 20]},
        {"size": [HEIGHT, WIDTH], "counts": ""},
        {"size": [HEIGHT, WIDTH], "counts": "é"},
        {"size": [WIDTH, HEIGHT], "counts": [0, HEIGHT * WIDTH]},
        {"size": [HEIGHT, WIDTH], "counts": "P"},  # cut off within a number
        {"size": [HEIGHT, WIDTH], "counts": "Ze"},
        {"size": [HEIGHT, WIDTH], "counts": "a;" + "T" * 40},
        {"size": [HEIGHT, WIDTH], "counts": "55"},  # of fewer pixels
        {"size": [0, 0], "counts": "0"},
        {"size": "large", "counts": "0"},
    ],
)
def test_what_is_no_segmentation_of_the_image_has_no_box(segmentation):
    assert box_of(segmentation, WIDTH, HEIGHT) is None


@pytest.mark.parametrize("seed", range(20))
def test_compressed_masks_of_any_shape_have_the_box_that_pycocotools_gives(seed):
    rng = np.random.default_rng(seed)
    pixels = rng.random((HEIGHT, WIDTH)) < rng.choice([0.001, 0.01, 0.5, 0.99])
    pixels[rng.integers(HEIGHT), rng.integers(WIDTH)] = True
    code = mask_util.encode(np.asfortranarray(pixels, np.uint8))
    text = {"size": [HEIGHT, WIDTH], "counts": code["counts"].decode("ascii")}
    assert box_of(text, WIDTH, HEIGHT) == mask_util.toBbox(code).tolist()


def test_a_compressed_mask_that_is_cut_off_or_goes_on_has_no_box(mask):
    text = mask_util.encode(mask)["counts"].decode("ascii")
    for damaged in (*(text[:end] for end in range(len(text))), text + text):
        assert box_of({"size": [HEIGHT, WIDTH], "counts": damaged}, WIDTH, HEIGHT) is None
