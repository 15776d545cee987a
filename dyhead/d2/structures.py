"""The host's `structures`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.structures import Boxes, BoxMode, ImageList, Instances, pairwise_iou
else:
    from dyhead.d2._embedded.structures import Boxes, BoxMode, ImageList, Instances, pairwise_iou

__all__ = [
    "BoxMode",
    "Boxes",
    "ImageList",
    "Instances",
    "pairwise_iou",
]
