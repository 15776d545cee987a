"""Containers for boxes, instances and batches of images."""

from .box_mode import BoxMode
from .boxes import (
    Boxes,
    pairwise_intersection,
    pairwise_ioa,
    pairwise_iou,
    pairwise_point_box_distance,
)
from .image_list import ImageList
from .instances import Instances
from .masks import BitMasks, Keypoints, PolygonMasks, RotatedBoxes, polygons_to_bitmask
