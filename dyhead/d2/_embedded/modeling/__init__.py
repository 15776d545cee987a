"""Backbones, anchors, box transforms and the registry of meta-architectures."""

from .anchor_generator import ANCHOR_GENERATOR_REGISTRY, build_anchor_generator
from .backbone import (
    BACKBONE_REGISTRY,
    FPN,
    Backbone,
    ResNet,
    build_backbone,
    build_resnet_backbone,
)
from .meta_arch import META_ARCH_REGISTRY, build_model
from .postprocessing import detector_postprocess

__all__ = [
    "ANCHOR_GENERATOR_REGISTRY",
    "BACKBONE_REGISTRY",
    "FPN",
    "META_ARCH_REGISTRY",
    "Backbone",
    "ResNet",
    "build_anchor_generator",
    "build_backbone",
    "build_model",
    "build_resnet_backbone",
    "detector_postprocess",
]
