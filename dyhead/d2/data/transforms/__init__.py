"""Deterministic transforms and the random augmentations that make them.

A Transform maps an image and everything annotated on it; an Augmentation looks at an input and
decides on a Transform.
"""

from fvcore.transforms.transform import (
    BlendTransform,
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    ScaleTransform,
    Transform,
    TransformList,
    VFlipTransform,
)

from .augmentation import AugInput, Augmentation, AugmentationList, apply_augmentations
from .augmentation_impl import RandomCrop, RandomFlip, Resize, ResizeShortestEdge
from .transform import ResizeTransform

__all__ = [
    "AugInput",
    "Augmentation",
    "AugmentationList",
    "BlendTransform",
    "CropTransform",
    "HFlipTransform",
    "NoOpTransform",
    "PadTransform",
    "RandomCrop",
    "RandomFlip",
    "Resize",
    "ResizeShortestEdge",
    "ResizeTransform",
    "ScaleTransform",
    "Transform",
    "TransformList",
    "VFlipTransform",
    "apply_augmentations",
]
