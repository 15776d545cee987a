"""Operators in plain PyTorch and torchvision, free of Detectron2 and of the rest of the project."""

from dyhead.ops.deform_conv import BACKENDS, choose_backend, modulated_deform_conv2d
from dyhead.ops.offset_maps import crop, flat_read, resize_mask, resize_offset

__all__ = [
    "BACKENDS",
    "choose_backend",
    "crop",
    "flat_read",
    "modulated_deform_conv2d",
    "resize_mask",
    "resize_offset",
]
