"""The host's `modeling`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling import (
        BACKBONE_REGISTRY,
        FPN,
        META_ARCH_REGISTRY,
        Backbone,
        ResNet,
        build_backbone,
        build_model,
        build_resnet_backbone,
    )
else:
    from dyhead.d2._embedded.modeling import (
        BACKBONE_REGISTRY,
        FPN,
        META_ARCH_REGISTRY,
        Backbone,
        ResNet,
        build_backbone,
        build_model,
        build_resnet_backbone,
    )

__all__ = [
    "BACKBONE_REGISTRY",
    "Backbone",
    "FPN",
    "META_ARCH_REGISTRY",
    "ResNet",
    "build_backbone",
    "build_model",
    "build_resnet_backbone",
]
