"""Holds placeholders for annotations other than boxes, which can be imported and raise on use."""

from ..utils.not_served import not_served

BitMasks = not_served("BitMasks", "instance masks")
PolygonMasks = not_served("PolygonMasks", "instance masks")
polygons_to_bitmask = not_served("polygons_to_bitmask", "instance masks")
Keypoints = not_served("Keypoints", "keypoints")
RotatedBoxes = not_served("RotatedBoxes", "rotated boxes")
