"""Resizes pictures by their shorter side, and leaves something of extreme shapes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dyhead.d2.data import transforms as T


class ResizeShortestEdge(T.ResizeShortestEdge):
    """Detectron2's resize, which leaves at least one pixel of each side.

    Its own gives a side of 0 pixels, which no picture has, where the longer side is the limit and
    more than twice as many times as long: 3000 x 2 pixels at most 1000 long.
    """

    def get_transform(self, image: Any) -> Any:
        """Return the resize to a newly sampled length."""
        transform = super().get_transform(image)
        if (
            not isinstance(transform, T.ResizeTransform)
            or min(transform.new_h, transform.new_w) > 0
        ):
            return transform
        size = max(transform.new_h, 1), max(transform.new_w, 1)
        return T.ResizeTransform(transform.h, transform.w, *size, transform.interp)

    @staticmethod
    def get_output_shape(
        oldh: int, oldw: int, short_edge_length: int, max_size: int
    ) -> tuple[int, int]:
        """Return the (height, width) that an image of (oldh, oldw) pixels is resized to."""
        height, width = T.ResizeShortestEdge.get_output_shape(
            oldh, oldw, short_edge_length, max_size
        )
        return max(height, 1), max(width, 1)


class ResizeBatch(T.Augmentation):
    """Resizes all images of a batch by one length of the shorter side.

    It needs an input with `batch_seed`, numbers that are the same for all images of the batch; None
    for an image that stands in no batch, such as one that is mixed into another.
    """

    def __init__(
        self, short_edge_length: Sequence[int], max_size: int, sample_style: str = "choice"
    ) -> None:
        """Take the arguments of `ResizeShortestEdge`."""
        super().__init__()
        self.short_edge_length, self.max_size = tuple(short_edge_length), max_size
        self.sample_style = sample_style

    def get_transform(self, image: Any, batch_seed: Sequence[int] | None) -> Any:
        """Return the resize to the batch's length."""
        random = np.random if batch_seed is None else _generator(batch_seed)
        lengths = self.short_edge_length
        if self.sample_style == "range":
            length = int(random.randint(lengths[0], lengths[-1] + 1))
        else:
            length = int(random.choice(lengths))
        return ResizeShortestEdge(length, self.max_size).get_transform(image)


def _generator(seed: Sequence[int]) -> np.random.RandomState:
    return np.random.RandomState(np.random.SeedSequence(seed).generate_state(4))
