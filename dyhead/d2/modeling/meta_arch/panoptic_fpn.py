"""Holds a placeholder for panoptic segmentation, which can be imported and raises on use."""

from ...utils.not_served import not_served

PanopticFPN = not_served("PanopticFPN", "panoptic segmentation")
