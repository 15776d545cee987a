"""Boxes as offsets from other boxes."""

import math

import torch
from torch import Tensor

# No box grows more than 1000 / 16 times: from the smallest usual anchor to a whole usual image.
DEFAULT_SCALE_CLAMP = math.log(1000.0 / 16)


class Box2BoxTransform:
    """The deltas (dx, dy, dw, dh) of R-CNN (arXiv:1311.2524, appendix C).

    Centres move by a share of the source box's size, sizes change by the exponential.
    """

    def __init__(
        self,
        weights: tuple[float, float, float, float],
        scale_clamp: float = DEFAULT_SCALE_CLAMP,
    ) -> None:
        """Set what the four deltas are multiplied by, and the largest dw and dh to decode."""
        self.weights = weights
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Encode targets relative to sources.

        Args:
            src_boxes: (N, 4) absolute x0, y0, x1, y1; for example anchors.
            target_boxes: (N, 4) in the same format.

        Returns:
            (N, 4) deltas; `apply_deltas` gives the targets back, unless the clamp applies.

        Raises:
            ValueError: a source box has no width or no height.
        """
        src_centres, src_size = centres_and_size(src_boxes)
        if not (src_size > 0).all():
            raise ValueError("Box2BoxTransform needs source boxes of positive width and height.")
        target_centres, target_size = centres_and_size(target_boxes)
        shift = (target_centres - src_centres) / src_size
        growth = torch.log(target_size / src_size)
        return torch.cat([shift, growth], dim=1) * shift.new_tensor(self.weights)

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Decode deltas relative to boxes, in float32.

        Args:
            deltas: (N, 4 k): k groups of deltas for each box, for example one per class.
            boxes: (N, 4) absolute x0, y0, x1, y1.

        Returns:
            (N, 4 k) boxes.
        """
        groups = deltas.float().unflatten(1, (-1, 4))
        groups = groups / groups.new_tensor(self.weights)
        centres, size = centres_and_size(boxes.to(groups.dtype)[:, None])
        new_centres = centres + groups[..., :2] * size
        half_size = groups[..., 2:].clamp(max=self.scale_clamp).exp() * size / 2
        decoded = torch.cat([new_centres - half_size, new_centres + half_size], dim=-1)
        return decoded.reshape(deltas.shape)


def centres_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 2) centre x, y and (..., 2) width, height of (..., 4) corners."""
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + size / 2, size
