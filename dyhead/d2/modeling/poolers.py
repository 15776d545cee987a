"""The host's `modeling.poolers`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling.poolers import (
        ROIPooler,
        assign_boxes_to_levels,
        convert_boxes_to_pooler_format,
    )
else:
    from dyhead.d2._embedded.modeling.poolers import (
        ROIPooler,
        assign_boxes_to_levels,
        convert_boxes_to_pooler_format,
    )

__all__ = [
    "ROIPooler",
    "assign_boxes_to_levels",
    "convert_boxes_to_pooler_format",
]
