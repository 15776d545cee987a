"""A batch of images of different sizes in one padded tensor.

Shapes: N images, C channels, H x W positions.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class ImageList:
    """Images padded on the right and at the bottom to (N, ..., H, W), and their own sizes."""

    def __init__(self, tensor: Tensor, image_sizes: list[tuple[int, int]]) -> None:
        """Take the padded batch and each image's (height, width) in pixels."""
        self.tensor = tensor
        self.image_sizes = image_sizes

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.image_sizes)

    def __getitem__(self, idx: int) -> Tensor:
        """One image without its padding."""
        height, width = self.image_sizes[idx]
        return self.tensor[idx, ..., :height, :width]

    def to(self, *args: Any, **kwargs: Any) -> "ImageList":
        """Images after `tensor.to`."""
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    @property
    def device(self) -> torch.device:
        """The device of the images."""
        return self.tensor.device

    @staticmethod
    def from_tensors(
        tensors: Sequence[Tensor],
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: Mapping[str, int] | None = None,
    ) -> "ImageList":
        """Pad images to one size.

        Args:
            tensors: images of shape (..., H_i, W_i), equal but for the last two dimensions.
            size_divisibility: the padded height and width become multiples of it; 0 for any size.
            pad_value: what fills the padding.
            padding_constraints: a backbone's wishes: "size_divisibility", which goes before the
                argument, and "square_size" for square images of that size.

        Raises:
            ValueError: no images, images that cannot share a batch, or a square too small.
        """
        check_same_layout(tensors)
        image_sizes = [(image.shape[-2], image.shape[-1]) for image in tensors]
        constraints = padding_constraints or {}
        divisor = constraints.get("size_divisibility", size_divisibility)
        height, width = padded_size(image_sizes, divisor, constraints.get("square_size", 0))
        batch_shape = (len(tensors), *tensors[0].shape[:-2], height, width)
        batch = tensors[0].new_full(batch_shape, pad_value)
        for index, image in enumerate(tensors):
            batch[index, ..., : image.shape[-2], : image.shape[-1]] = image
        return ImageList(batch, image_sizes)


def check_same_layout(tensors: Sequence[Tensor]) -> None:
    """Refuse an empty list and images whose leading dimensions differ."""
    layouts = {tuple(image.shape[:-2]) for image in tensors}
    if len(layouts) != 1:
        raise ValueError(
            f"A batch needs images of one number of channels, got {layouts or 'none'}."
        )


def padded_size(
    image_sizes: list[tuple[int, int]], divisor: int, square_size: int
) -> tuple[int, int]:
    """Smallest common (height, width) in pixels under the constraints; 0 means no constraint."""
    height = max(size[0] for size in image_sizes)
    width = max(size[1] for size in image_sizes)
    if square_size > 0:
        if square_size < max(height, width):
            raise ValueError(f"A {height} x {width} image does not fit a square of {square_size}.")
        height = width = square_size
    if divisor > 1:
        height, width = (math.ceil(side / divisor) * divisor for side in (height, width))
    return height, width
