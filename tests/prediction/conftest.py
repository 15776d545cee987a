"""A runner that finds plain red and blue rectangles, to the pixel."""

from collections.abc import Sequence

import numpy as np
import pytest

from dyhead.prediction import Detector, RawDetections

RED, BLUE = (255, 0, 0), (0, 0, 255)  # RGB


class RectangleRunner:
    """Finds the red rectangle (score 0.9) and the blue one (0.6) of each picture, if any.

    Attributes:
        batches: the sizes (height, width) of the pictures of each call.
    """

    class_names: tuple[str, ...] = ("blue", "red")
    category_ids: tuple[int, ...] = (3, 7)

    def __init__(self, input_format: str = "BGR", min_size: int = 0, max_size: int = 1333) -> None:
        self.input_format = input_format
        self.min_size, self.max_size = min_size, max_size
        self.batches: list[list[tuple[int, int]]] = []

    def __call__(self, images: Sequence[np.ndarray]) -> list[RawDetections]:
        assert all(image.dtype == np.uint8 and image.shape[2] == 3 for image in images)
        self.batches.append([image.shape[:2] for image in images])
        return [self._find(image) for image in images]

    def _find(self, image: np.ndarray) -> RawDetections:
        rgb = image[:, :, ::-1] if self.input_format == "BGR" else image
        found = []
        for index, color, score in ((0, BLUE, 0.6), (1, RED, 0.9)):
            rows, columns = np.nonzero(np.abs(rgb.astype(int) - color).max(axis=2) < 100)
            if len(rows):
                box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                found.append((box, score, index))
        return RawDetections(
            np.array([box for box, *_ in found], dtype=np.float32).reshape(-1, 4),
            np.array([score for _, score, _ in found], dtype=np.float32),
            np.array([index for *_, index in found], dtype=np.int64),
        )


@pytest.fixture
def runner() -> RectangleRunner:
    return RectangleRunner()


@pytest.fixture
def detector(runner: RectangleRunner) -> Detector:
    return Detector.from_runner(runner)


@pytest.fixture
def scene() -> np.ndarray:
    """(60, 100, 3), RGB: on black a red rectangle (10, 5, 40, 25), a blue one (50, 30, 90, 55)."""
    pixels = np.zeros((60, 100, 3), dtype=np.uint8)
    pixels[5:25, 10:40] = RED
    pixels[30:55, 50:90] = BLUE
    return pixels
