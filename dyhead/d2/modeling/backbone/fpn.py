"""The host's `modeling.backbone.fpn`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling.backbone.fpn import (
        FPN,
        LastLevelMaxPool,
        LastLevelP6P7,
        build_resnet_fpn_backbone,
        build_retinanet_resnet_fpn_backbone,
    )
else:
    from dyhead.d2._embedded.modeling.backbone.fpn import (
        FPN,
        LastLevelMaxPool,
        LastLevelP6P7,
        build_resnet_fpn_backbone,
        build_retinanet_resnet_fpn_backbone,
    )

__all__ = [
    "FPN",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "build_resnet_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone",
]
