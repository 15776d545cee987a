"""Extreme shapes keep a pixel; all others are resized as Detectron2 does."""

import numpy as np
import pytest

from dyhead.d2.data import transforms as T
from dyhead.data.model_input import resize, resized_size
from dyhead.data.resizing import ResizeBatch, ResizeShortestEdge


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(2, 3000, (1, 1333)), (1, 5000, (1, 1333)), (5000, 1, (1333, 1)), (3, 2000, (2, 1333))],
)
def test_a_pixel_of_each_side_is_left(height: int, width: int, size: tuple[int, int]) -> None:
    picture = np.full((height, width, 3), 7, np.uint8)
    transform = ResizeShortestEdge([800], 1333, "choice").get_transform(picture)
    assert transform.apply_image(picture).shape == (*size, 3)
    assert resize(picture, 800, 1333).shape == (*size, 3)
    assert resized_size(height, width, 800, 1333) == size


def test_boxes_are_scaled_by_each_side_of_its_own() -> None:
    picture = np.zeros((1, 5000, 3), np.uint8)
    transform = ResizeShortestEdge([800], 1250, "choice").get_transform(picture)
    np.testing.assert_allclose(transform.apply_box(np.array([[0, 0, 100, 1.0]])), [[0, 0, 25, 1]])


def test_other_shapes_are_those_of_detectron2() -> None:
    generator = np.random.default_rng(0)
    for height, width in generator.integers(20, 900, (50, 2)).tolist():
        expected = T.ResizeShortestEdge.get_output_shape(height, width, 300, 500)
        assert ResizeShortestEdge.get_output_shape(height, width, 300, 500) == expected
        picture = np.zeros((height, width, 3), np.uint8)
        assert resize(picture, 300, 500).shape == (*expected, 3)


@pytest.mark.parametrize(
    ("lengths", "style", "possible"),
    [((20, 30, 50), "choice", {20, 30, 50}), ((20, 23), "range", {20, 21, 22, 23})],
)
def test_a_batch_has_one_length_and_batches_have_all(
    lengths: tuple[int, ...], style: str, possible: set[int]
) -> None:
    resize_batch = ResizeBatch(lengths, 999, style)
    picture = np.zeros((40, 80, 3), np.uint8)
    seen = set()
    for batch in range(40):
        sizes = set()
        for image in range(4):
            np.random.seed(image)  # what is random about each image does not matter
            transform = resize_batch(_input(picture, (7, batch)))
            sizes.add((transform.new_h, transform.new_w))
        ((height, width),) = sizes
        assert width == 2 * height
        seen.add(height)
    assert seen == possible


def test_an_image_that_stands_in_no_batch_gets_a_length_of_its_own() -> None:
    resize_batch = ResizeBatch((20, 30, 50), 999)
    picture = np.zeros((40, 80, 3), np.uint8)
    assert {resize_batch(_input(picture, None)).new_h for _ in range(40)} == {20, 30, 50}


def _input(picture: np.ndarray, batch_seed: tuple[int, int] | None) -> T.AugInput:
    aug_input = T.AugInput(picture)
    aug_input.batch_seed = batch_seed  # type: ignore[attr-defined]
    return aug_input
