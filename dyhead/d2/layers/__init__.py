"""Layers that the embedded host's models are built from."""

from .batch_norm import FrozenBatchNorm2d, LayerNorm, get_norm
from .blocks import CNNBlockBase
from .nms import batched_nms
from .roi_align import ROIAlign
from .shape_spec import ShapeSpec
from .wrappers import Conv2d, cat, cross_entropy, nonzero_tuple

__all__ = [
    "CNNBlockBase",
    "Conv2d",
    "FrozenBatchNorm2d",
    "LayerNorm",
    "ROIAlign",
    "ShapeSpec",
    "batched_nms",
    "cat",
    "cross_entropy",
    "get_norm",
    "nonzero_tuple",
]
