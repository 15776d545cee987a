"""The host's `layers`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.layers import (
        CNNBlockBase,
        Conv2d,
        FrozenBatchNorm2d,
        ROIAlign,
        ShapeSpec,
        batched_nms,
        cat,
        cross_entropy,
        get_norm,
        nonzero_tuple,
    )
else:
    from dyhead.d2._embedded.layers import (
        CNNBlockBase,
        Conv2d,
        FrozenBatchNorm2d,
        ROIAlign,
        ShapeSpec,
        batched_nms,
        cat,
        cross_entropy,
        get_norm,
        nonzero_tuple,
    )

__all__ = [
    "CNNBlockBase",
    "Conv2d",
    "FrozenBatchNorm2d",
    "ROIAlign",
    "ShapeSpec",
    "batched_nms",
    "cat",
    "cross_entropy",
    "get_norm",
    "nonzero_tuple",
]
