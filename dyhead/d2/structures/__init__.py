"""Containers for boxes, instances and batches of images."""

from .box_mode import BoxMode
from .boxes import Boxes, pairwise_intersection, pairwise_iou
from .image_list import ImageList
from .instances import Instances

__all__ = ["BoxMode", "Boxes", "ImageList", "Instances", "pairwise_intersection", "pairwise_iou"]
