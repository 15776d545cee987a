"""A detector small enough for exact checks: pooled pixels as a pyramid, ATSS on top."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dyhead.config import add_dyhead_config
from dyhead.d2.config import get_cfg
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import BACKBONE_REGISTRY, Backbone
from dyhead.d2.modeling.anchor_generator import DefaultAnchorGenerator
from dyhead.d2.modeling.box_regression import Box2BoxTransform
from dyhead.d2.structures import Boxes, Instances
from dyhead.modeling.backbone.dyhead import DyHead
from dyhead.modeling.meta_arch.atss import ATSS
from dyhead.modeling.meta_arch.dense_head import DenseHead

CHANNELS = 8
BLOCK_CHANNELS = 16
NUM_CLASSES = 3


class PooledPixels(Backbone):
    """Every level is the average-pooled image through a 1x1 convolution."""

    def __init__(self, strides):
        super().__init__()
        self.strides = dict(zip([f"p{s.bit_length() - 1}" for s in strides], strides, strict=True))
        self.convs = nn.ModuleDict({name: nn.Conv2d(3, CHANNELS, 1) for name in self.strides})

    def forward(self, images):
        return {n: self.convs[n](F.avg_pool2d(images, s)) for n, s in self.strides.items()}

    @property
    def size_divisibility(self):
        return max(self.strides.values())

    def output_shape(self):
        return {n: ShapeSpec(channels=CHANNELS, stride=s) for n, s in self.strides.items()}


def build_pooled_pixels_backbone(cfg, input_shape):
    return PooledPixels([8, 16, 32, 64, 128])


if "build_pooled_pixels_backbone" not in BACKBONE_REGISTRY:
    BACKBONE_REGISTRY.register(build_pooled_pixels_backbone)


def randomize(detector):
    """Weights that give lively scores and boxes instead of the cautious initialisation."""
    for module in detector.head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.5)
            nn.init.normal_(module.bias, std=0.5)
    for scale in detector.head.scales:
        nn.init.uniform_(scale.scale, 0.5, 1.5)
    return detector


def build_detector(
    seed=0, strides=(8, 16, 32), aspect_ratios=(1.0,), head=None, num_blocks=0, **arguments
):
    torch.manual_seed(seed)
    backbone = PooledPixels(strides)
    if num_blocks:
        backbone = DyHead(backbone, BLOCK_CHANNELS, num_blocks)
    shapes = backbone.output_shape()
    detector = ATSS(
        backbone=backbone,
        head=DenseHead(
            in_channels=next(iter(shapes.values())).channels,
            num_levels=len(strides),
            num_classes=NUM_CLASSES,
            num_anchors=len(aspect_ratios),
            **(head or {}),
        ),
        head_in_features=list(shapes),
        anchor_generator=DefaultAnchorGenerator(
            sizes=[[8.0 * s] for s in strides],
            aspect_ratios=[list(aspect_ratios)],
            strides=list(strides),
        ),
        box2box_transform=Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0)),
        num_classes=NUM_CLASSES,
        pixel_mean=[100.0, 110.0, 120.0],
        pixel_std=[60.0, 61.0, 62.0],
        **arguments,
    )
    return randomize(detector)


def build_input(seed, size=(64, 96), boxes=(), classes=()):
    """One image of random pixels with its ground truth."""
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor(list(boxes), dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.tensor(list(classes), dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
    return {"image": image, "instances": instances}


def build_batch():
    """An image with three objects, one with nothing, and one with one, of different sizes."""
    boxes = [[3.2, 4.1, 60.7, 50.9], [20.3, 10.6, 95.1, 63.2], [5.4, 30.5, 30.2, 61.7]]
    return [
        build_input(1, (64, 96), boxes, [0, 2, 1]),
        build_input(2, (60, 70)),
        build_input(3, (64, 64), [[8.3, 9.1, 55.2, 47.8]], [1]),
    ]


@pytest.fixture
def make_detector():
    return build_detector


@pytest.fixture
def make_input():
    return build_input


@pytest.fixture
def batch():
    return build_batch()


@pytest.fixture
def cfg():
    """ATSS on the official anchors, without towers, for PooledPixels."""
    cfg = get_cfg()
    add_dyhead_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "ATSS"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_pooled_pixels_backbone"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[64], [128], [256], [512], [1024]]
    cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [1.0]
    cfg.MODEL.ATSS.NUM_CLASSES = NUM_CLASSES
    cfg.MODEL.ATSS.NUM_CONVS = 0
    cfg.MODEL.ATSS.CHANNELS = CHANNELS
    return cfg
