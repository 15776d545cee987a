"""COCO-format datasets and the builtin ones; importing this registers the builtin ones."""

from . import builtin as _builtin  # noqa: F401
from .coco import (
    convert_to_coco_dict,
    convert_to_coco_json,
    load_coco_json,
    register_coco_instances,
)
