"""The transforms that fvcore lacks: resizing, and any change of colours."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fvcore.transforms.transform import NoOpTransform, Transform
from PIL import Image

_TORCH_MODE = {
    Image.Resampling.NEAREST: "nearest",
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "bicubic",
}


def _resize_uint8(image: np.ndarray, height: int, width: int, interp: int) -> np.ndarray:
    if image.ndim == 3 and image.strides[2] < 0:
        # BGR is a reversed view of RGB; PIL would copy it value by value, and slowly.
        return _resize_uint8(image[:, :, ::-1], height, width, interp)[:, :, ::-1]
    one_channel = image.ndim == 3 and image.shape[2] == 1
    pil_image = Image.fromarray(image[:, :, 0] if one_channel else image)
    resized = np.asarray(pil_image.resize((width, height), interp))
    return resized[:, :, None] if one_channel else resized


def _resize_float(image: np.ndarray, height: int, width: int, interp: int) -> np.ndarray:
    mode = _TORCH_MODE[Image.Resampling(interp)]
    align_corners = None if mode == "nearest" else False
    trailing = image.shape[2:]  # HW, HWC or HWCN; all but H and W become channels
    # A flipped image has negative strides, which torch refuses.
    hwc = torch.from_numpy(np.ascontiguousarray(image)).reshape(*image.shape[:2], -1)
    chw = F.interpolate(
        hwc.permute(2, 0, 1)[None], (height, width), mode=mode, align_corners=align_corners
    )[0]
    return chw.permute(1, 2, 0).reshape(height, width, *trailing).numpy()


class ResizeTransform(Transform):
    """Resize an image of (h, w) to (new_h, new_w), with everything annotated on it.

    uint8 images are resized by PIL, which smooths when it shrinks; others by
    torch.nn.functional.interpolate, which does not.

    Args:
        h: height of the images to come, in pixels.
        w: width of the images to come, in pixels.
        new_h: height of the result.
        new_w: width of the result.
        interp: PIL's interpolation method; None means bilinear.
    """

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None) -> None:
        super().__init__()
        self.h, self.w, self.new_h, self.new_w = h, w, new_h, new_w
        self.interp = Image.Resampling.BILINEAR if interp is None else interp

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize an array of (H, W), (H, W, C) or (H, W, C, N)."""
        assert img.shape[:2] == (self.h, self.w), (
            f"This resize is for images of {(self.h, self.w)}, got one of {img.shape[:2]}."
        )
        assert img.ndim <= 4, f"An image has 2 to 4 dimensions, got shape {img.shape}."
        resize = _resize_uint8 if img.dtype == np.uint8 else _resize_float
        return resize(img, self.new_h, self.new_w, self.interp if interp is None else interp)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale (N, 2) points (x, y), in place."""
        coords[:, 0] = coords[:, 0] * (self.new_w / self.w)
        coords[:, 1] = coords[:, 1] * (self.new_h / self.h)
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize an (H, W) map of labels by the nearest neighbour."""
        return self.apply_image(segmentation, interp=Image.Resampling.NEAREST)

    def inverse(self) -> "ResizeTransform":
        """The resize back to (h, w)."""
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp)


class ColorTransform(Transform):
    """Change colours by a function from array to array; coordinates and labels stay.

    Raises:
        ValueError: `op` is no function.
    """

    def __init__(self, op: Callable[[Any], Any]) -> None:
        if not callable(op):
            raise ValueError(f"op must be a function of an image, got {op!r}.")
        super().__init__()
        self.op = op

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Return what the function makes of an image."""
        return self.op(img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Return (N, 2) points as they are."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Return an (H, W) map of labels as it is."""
        return segmentation

    def inverse(self) -> Transform:
        """Return the way back for coordinates, which is nothing."""
        return NoOpTransform()


class PILColorTransform(ColorTransform):
    """Change colours by a function from PIL image to PIL image."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Return what the function makes of a uint8 image."""
        return np.asarray(self.op(Image.fromarray(img)))
