"""The host's `modeling.backbone.resnet`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling.backbone.resnet import (
        BasicBlock,
        BasicStem,
        BottleneckBlock,
        ResNet,
        build_resnet_backbone,
    )
else:
    from dyhead.d2._embedded.modeling.backbone.resnet import (
        BasicBlock,
        BasicStem,
        BottleneckBlock,
        ResNet,
        build_resnet_backbone,
    )

__all__ = [
    "BasicBlock",
    "BasicStem",
    "BottleneckBlock",
    "ResNet",
    "build_resnet_backbone",
]
