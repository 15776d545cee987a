"""The host's `modeling.backbone`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling.backbone import (
        BACKBONE_REGISTRY,
        FPN,
        Backbone,
        ResNet,
        build_backbone,
        build_resnet_backbone,
    )
else:
    from dyhead.d2._embedded.modeling.backbone import (
        BACKBONE_REGISTRY,
        FPN,
        Backbone,
        ResNet,
        build_backbone,
        build_resnet_backbone,
    )

__all__ = [
    "BACKBONE_REGISTRY",
    "Backbone",
    "FPN",
    "ResNet",
    "build_backbone",
    "build_resnet_backbone",
]
