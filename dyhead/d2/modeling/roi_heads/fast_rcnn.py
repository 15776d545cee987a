"""The host's `modeling.roi_heads.fast_rcnn`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers, fast_rcnn_inference
else:
    from dyhead.d2._embedded.modeling.roi_heads.fast_rcnn import (
        FastRCNNOutputLayers,
        fast_rcnn_inference,
    )

__all__ = [
    "FastRCNNOutputLayers",
    "fast_rcnn_inference",
]
