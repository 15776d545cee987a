"""The host's `data.transforms`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.data.transforms import (
        AugInput,
        Augmentation,
        AugmentationList,
        CropTransform,
        HFlipTransform,
        NoOpTransform,
        RandomCrop,
        RandomFlip,
        Resize,
        ResizeShortestEdge,
        ResizeTransform,
        Transform,
        TransformList,
        VFlipTransform,
    )
else:
    from dyhead.d2._embedded.data.transforms import (
        AugInput,
        Augmentation,
        AugmentationList,
        CropTransform,
        HFlipTransform,
        NoOpTransform,
        RandomCrop,
        RandomFlip,
        Resize,
        ResizeShortestEdge,
        ResizeTransform,
        Transform,
        TransformList,
        VFlipTransform,
    )

__all__ = [
    "AugInput",
    "Augmentation",
    "AugmentationList",
    "CropTransform",
    "HFlipTransform",
    "NoOpTransform",
    "RandomCrop",
    "RandomFlip",
    "Resize",
    "ResizeShortestEdge",
    "ResizeTransform",
    "Transform",
    "TransformList",
    "VFlipTransform",
]
