"""The host's `modeling.box_regression`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling.box_regression import Box2BoxTransform, _dense_box_regression_loss
else:
    from dyhead.d2._embedded.modeling.box_regression import (
        Box2BoxTransform,
        _dense_box_regression_loss,
    )

__all__ = [
    "Box2BoxTransform",
    "_dense_box_regression_loss",
]
