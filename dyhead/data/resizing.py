"""Resizes pictures by their shorter side, and leaves something of extreme shapes."""

from typing import Any

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
