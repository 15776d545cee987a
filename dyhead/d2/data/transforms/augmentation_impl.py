"""The random augmentations: flip, resize, crop and colours."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fvcore.transforms.transform import (
    BlendTransform,
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    Transform,
    VFlipTransform,
)
from PIL import Image

from .augmentation import Augmentation, as_augmentation
from .transform import ResizeTransform


class RandomApply(Augmentation):
    """Apply an augmentation or a transform with the probability `prob`, or else nothing."""

    def __init__(self, tfm_or_aug: Augmentation | Transform, prob: float = 0.5) -> None:
        assert 0.0 <= prob <= 1.0, f"A probability lies in [0, 1], got {prob}."
        self.aug, self.prob = as_augmentation(tfm_or_aug), prob

    def get_transform(self, *args: Any) -> Transform:
        """Return what the augmentation decides on, or nothing."""
        is_applied = self._rand_range() < self.prob
        return self.aug.get_transform(*args) if is_applied else NoOpTransform()

    def __call__(self, aug_input: Any) -> Transform:
        """Transform `aug_input` in place, or leave it, and return the transform that was used."""
        return self.aug(aug_input) if self._rand_range() < self.prob else NoOpTransform()


class RandomFlip(Augmentation):
    """Flip an image with the probability `prob`, horizontally or vertically.

    Raises:
        ValueError: not exactly one of `horizontal` and `vertical` is set.
    """

    def __init__(
        self, prob: float = 0.5, *, horizontal: bool = True, vertical: bool = False
    ) -> None:
        if horizontal == vertical:
            raise ValueError(
                "RandomFlip flips either horizontally or vertically: set exactly one of them, and"
                " use two RandomFlip for both."
            )
        self.prob, self.horizontal, self.vertical = prob, horizontal, vertical

    def get_transform(self, image: np.ndarray) -> Transform:
        """A flip or nothing."""
        height, width = image.shape[:2]
        if self._rand_range() >= self.prob:
            return NoOpTransform()
        return HFlipTransform(width) if self.horizontal else VFlipTransform(height)


class Resize(Augmentation):
    """Resize to a fixed (height, width), or to a square of the given side."""

    def __init__(self, shape: int | Sequence[int], interp: int = Image.Resampling.BILINEAR) -> None:
        self.shape = (shape, shape) if isinstance(shape, int) else (shape[0], shape[1])
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize from this image's size."""
        height, width = image.shape[:2]
        return ResizeTransform(height, width, *self.shape, self.interp)


class ResizeShortestEdge(Augmentation):
    """Resize so that the shorter side gets a sampled length, keeping the aspect ratio.

    Where the longer side would exceed `max_size`, the image is scaled down to that instead.

    Args:
        short_edge_length: the lengths to choose from ("choice"), or the least and the greatest
            length ("range"); an int is both. A sampled length of 0 leaves the image as it is.
        max_size: the longer side's limit in pixels.
        sample_style: "choice" or "range".
        interp: PIL's interpolation method.

    Scripted models may call `get_output_shape`, so torch.jit has to be able to read the signatures
    of the other methods too.
    """

    @torch.jit.unused
    def __init__(
        self,
        short_edge_length: int | Sequence[int],
        max_size: int = sys.maxsize,
        sample_style: str = "range",
        interp: int = Image.Resampling.BILINEAR,
    ) -> None:
        assert sample_style in ("range", "choice"), (
            f"sample_style must be 'range' or 'choice', got {sample_style!r}."
        )
        if isinstance(short_edge_length, int):
            short_edge_length = (short_edge_length, short_edge_length)
        self.is_range = sample_style == "range"
        assert len(short_edge_length) == 2 or not self.is_range, (
            "sample_style 'range' needs two lengths, the least and the greatest, got"
            f" {short_edge_length}."
        )
        self.short_edge_length, self.max_size = short_edge_length, max_size
        self.sample_style, self.interp = sample_style, interp

    @torch.jit.unused
    def get_transform(self, image: Any) -> Any:
        """The resize to a newly sampled length."""
        height, width = image.shape[:2]
        if self.is_range:
            least, greatest = self.short_edge_length
            length = int(np.random.randint(least, greatest + 1))
        else:
            length = int(np.random.choice(self.short_edge_length))
        if length == 0:
            return NoOpTransform()
        new_size = self.get_output_shape(height, width, length, self.max_size)
        return ResizeTransform(height, width, *new_size, self.interp)

    @staticmethod
    def get_output_shape(
        oldh: int, oldw: int, short_edge_length: int, max_size: int
    ) -> tuple[int, int]:
        """The (height, width) that an image of (oldh, oldw) is resized to, in pixels."""
        # The order of the operations decides how halves round: scale first, then the limit.
        scale = short_edge_length * 1.0 / min(oldh, oldw)
        newh, neww = scale * oldh, scale * oldw
        if oldh < oldw:
            newh = short_edge_length * 1.0
        else:
            neww = short_edge_length * 1.0
        longest = max(newh, neww)
        if longest > max_size:
            newh, neww = newh * (max_size / longest), neww * (max_size / longest)
        return int(newh + 0.5), int(neww + 0.5)


_CROP_TYPES = ("relative_range", "relative", "absolute", "absolute_range")


class RandomCrop(Augmentation):
    """Crop a rectangle at a random place.

    Args:
        crop_type: how `crop_size` gives the rectangle's size, for an image of (H, W):
            "relative": (H * crop_size[0], W * crop_size[1]);
            "relative_range": the same, the two factors sampled from [crop_size[0], 1] and
            [crop_size[1], 1];
            "absolute": crop_size as (height, width) in pixels, at most the image;
            "absolute_range": both sides sampled from [crop_size[0], crop_size[1]] in pixels, at
            most the image.
        crop_size: two numbers.
    """

    def __init__(self, crop_type: str, crop_size: Sequence[float]) -> None:
        assert crop_type in _CROP_TYPES, (
            f"crop_type must be one of {', '.join(_CROP_TYPES)}, got {crop_type!r}."
        )
        self.crop_type, self.crop_size = crop_type, crop_size

    def get_transform(self, image: np.ndarray) -> Transform:
        """The crop of a newly sampled rectangle."""
        height, width = image.shape[:2]
        crop_height, crop_width = self.get_crop_size((height, width))
        assert height >= crop_height and width >= crop_width, (
            f"{self} is larger than the image, which is {height} x {width} pixels."
        )
        top = np.random.randint(height - crop_height + 1)
        left = np.random.randint(width - crop_width + 1)
        return CropTransform(left, top, crop_width, crop_height)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Sample the rectangle's (height, width) for an image of (height, width), in pixels."""
        height, width = image_size
        first, second = self.crop_size
        if self.crop_type == "absolute":
            return min(int(first), height), min(int(second), width)
        if self.crop_type == "absolute_range":
            least, greatest = int(first), int(second)
            return _sample_side(height, least, greatest), _sample_side(width, least, greatest)
        if self.crop_type == "relative_range":
            factors = np.asarray(self.crop_size, dtype=np.float32)
            first, second = factors + np.random.rand(2) * (1 - factors)
        return int(height * first + 0.5), int(width * second + 0.5)


def _sample_side(side: int, least: int, greatest: int) -> int:
    assert least <= greatest, f"The range of crop sizes [{least}, {greatest}] is empty."
    return int(np.random.randint(min(side, least), min(side, greatest) + 1))


class _RandomBlend(Augmentation):
    """Mix an image with another: 1 keeps it, 0 gives the other, above 1 leads away from that.

    Args:
        intensity_min: least share of the image in the mixture.
        intensity_max: greatest share; one in between is drawn for every image.
    """

    def __init__(self, intensity_min: float, intensity_max: float) -> None:
        self.intensity_min, self.intensity_max = intensity_min, intensity_max

    def get_transform(self, image: np.ndarray) -> Transform:
        """The mixture by a newly drawn share."""
        share = float(np.random.uniform(self.intensity_min, self.intensity_max))
        return BlendTransform(self._other(image), src_weight=1 - share, dst_weight=share)

    def _other(self, image: np.ndarray) -> Any:
        raise NotImplementedError


class RandomContrast(_RandomBlend):
    """Mix an image with its mean, which changes the contrast."""

    def _other(self, image: np.ndarray) -> Any:
        return image.mean()


class RandomBrightness(_RandomBlend):
    """Mix an image with black, which changes the brightness."""

    def _other(self, image: np.ndarray) -> Any:
        return 0


class RandomSaturation(_RandomBlend):
    """Mix an RGB image with its grey values (ITU-R BT.601), which changes the saturation."""

    def _other(self, image: np.ndarray) -> Any:
        assert image.shape[-1] == 3, f"RandomSaturation needs RGB images, got {image.shape}."
        return image.dot([0.299, 0.587, 0.114])[:, :, None]
