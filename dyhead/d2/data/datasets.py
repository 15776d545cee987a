"""The host's `data.datasets`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.data.datasets import (
        convert_to_coco_json,
        load_coco_json,
        register_coco_instances,
    )
else:
    from dyhead.d2._embedded.data.datasets import (
        convert_to_coco_json,
        load_coco_json,
        register_coco_instances,
    )

__all__ = [
    "convert_to_coco_json",
    "load_coco_json",
    "register_coco_instances",
]
