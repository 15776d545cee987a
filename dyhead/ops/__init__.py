"""Operators and their back ends, free of Detectron2 and of the rest of the project."""

from dyhead.ops.backends import BACKENDS, choose_backend, set_default_backend
from dyhead.ops.deform_conv import (
    DeformConv,
    foreach_deform_conv_with_moments,
    foreach_modulated_deform_conv2d,
    modulated_deform_conv2d,
)
from dyhead.ops.offset_maps import crop, flat_read, resize_mask, resize_offset
from dyhead.ops.packed_kernels import PackedKernels, sharing_packed_kernels
from dyhead.ops.suppression import non_max_suppression

__all__ = [
    "BACKENDS",
    "DeformConv",
    "PackedKernels",
    "choose_backend",
    "crop",
    "flat_read",
    "foreach_deform_conv_with_moments",
    "foreach_modulated_deform_conv2d",
    "modulated_deform_conv2d",
    "non_max_suppression",
    "resize_mask",
    "resize_offset",
    "set_default_backend",
    "sharing_packed_kernels",
]
