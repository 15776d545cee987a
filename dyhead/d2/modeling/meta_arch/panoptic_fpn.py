"""Detectors of stuff besides things: names to import, and no more."""

from ...utils.not_served import not_served

PanopticFPN = not_served("PanopticFPN", "panoptic segmentation")
