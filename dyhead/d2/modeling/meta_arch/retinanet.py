"""The host's `modeling.meta_arch.retinanet`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling.meta_arch.retinanet import RetinaNet, RetinaNetHead
else:
    from dyhead.d2._embedded.modeling.meta_arch.retinanet import RetinaNet, RetinaNetHead

__all__ = [
    "RetinaNet",
    "RetinaNetHead",
]
