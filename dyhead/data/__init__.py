"""Data sets: the generated shapes, any COCO json by config, and checks of what is read."""

from dyhead.data.mapper import CheckedMapper
from dyhead.data.num_classes import fill_num_classes
from dyhead.data.register import register_datasets

__all__ = ["CheckedMapper", "fill_num_classes", "register_datasets"]
