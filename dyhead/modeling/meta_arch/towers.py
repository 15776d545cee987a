"""Towers and predictors, of which every dense head is made, and their initial weights."""

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.backbone import Backbone
from dyhead.errors import UserError
from dyhead.modeling.backbone import DyHead

logger = logging.getLogger(__name__)

BASELINE_DEPTH = 4  # convolutions per tower of a detector without DyHead
GROUPS = 32
HIDDEN_INIT_STD = 0.01  # of all weights but the predictors'


class Scale(nn.Module):
    """Multiplication by one learned number."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Scale a tensor of any shape."""
        return x * self.scale


def build_tower(in_channels: int, channels: int, num_convs: int, use_gn: bool) -> nn.Sequential:
    """Build `num_convs` times a 3x3 convolution, GroupNorm if wanted, and ReLU; 0: the identity.

    Raises:
        UserError: GroupNorm is wanted, and the channels do not fall into its 32 groups.
    """
    if num_convs > 0 and use_gn and channels % GROUPS:
        raise UserError(
            f"The towers' CHANNELS={channels} is no multiple of {GROUPS}, which GroupNorm needs:"
            " change it, or leave the norm out (USE_GN False, for RetinaNet NORM '')."
        )
    layers: list[nn.Module] = []
    for i in range(num_convs):
        layers.append(nn.Conv2d(in_channels if i == 0 else channels, channels, 3, padding=1))
        if use_gn:
            layers.append(nn.GroupNorm(GROUPS, channels))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def build_predictor(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """Build a convolution that keeps the size of its input.

    Raises:
        UserError: the kernel size is even, or not positive.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise UserError(f"PREDICTOR_KERNEL_SIZE is {kernel_size}: set it to 1 or 3.")
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)


def initialise_head(
    hidden: Iterable[nn.Module],
    predictors: Sequence[nn.Conv2d],
    *,
    predictor_init_std: float,
    prior_prob: float,
) -> None:
    """Give a head its initial weights, and every anchor its first score.

    DyHead's first outputs are an order of magnitude smaller than a pyramid's: with the usual
    deviation of 0.01 the classes of a detector trained from random weights hardly part for hundreds
    of steps.

    Args:
        hidden: towers and other modules before the predictors.
        predictors: the last convolutions, that of the class logits first.
        predictor_init_std: standard deviation of the predictors' weights.
        prior_prob: class score of every anchor (Lin et al., ICCV 2017, section 3.3).

    Raises:
        UserError: no logit gives that score.
    """
    if not 0 < prior_prob < 1:
        raise UserError(f"PRIOR_PROB is {prior_prob}: set it above 0 and below 1, such as to 0.01.")
    for module in hidden:
        _initialise_convolutions(module, HIDDEN_INIT_STD)
    for predictor in predictors:
        _initialise_convolutions(predictor, predictor_init_std)
    nn.init.constant_(predictors[0].get_parameter("bias"), -math.log((1 - prior_prob) / prior_prob))


def _initialise_convolutions(module: nn.Module, std: float) -> None:
    for convolution in module.modules():
        if isinstance(convolution, nn.Conv2d):
            nn.init.normal_(convolution.weight, std=std)
            nn.init.zeros_(convolution.get_parameter("bias"))


def tower_depth(num_convs: int, backbone: Backbone) -> int:
    """Return how many convolutions stand between the features and the predictors.

    DyHead blocks replace the towers. A DyHead backbone that has none, because NUM_CONVS is 0 or
    every attention is off, is the plain baseline, which gets back the four they replace.
    """
    if num_convs == 0 and isinstance(backbone, DyHead) and len(backbone.blocks) == 0:
        logger.info("No DyHead block: the head gets towers of %d convolutions.", BASELINE_DEPTH)
        return BASELINE_DEPTH
    return num_convs


def shared_channels(levels: Sequence[ShapeSpec]) -> int:
    """Return the number of channels that all feature maps have.

    Raises:
        UserError: they differ.
    """
    channels = {level.channels for level in levels}
    if len(channels) != 1:
        raise UserError(
            f"The features that IN_FEATURES names have {sorted(channels)} channels: one head for"
            " all levels needs the same number in each."
        )
    return int(channels.pop())


def anchors_per_location(anchor_generator: Any) -> int:
    """Return how many anchors every location has.

    Raises:
        UserError: the levels differ in it.
    """
    counts = set(anchor_generator.num_anchors)
    if len(counts) != 1:
        raise UserError(
            f"MODEL.ANCHOR_GENERATOR gives {anchor_generator.num_anchors} anchors per location on"
            " the levels: a shared head needs as many SIZES x ASPECT_RATIOS on each."
        )
    return int(counts.pop())
