"""What stands between a pyramid and the predictors of a dense detector, and how it starts."""

import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.backbone import Backbone
from dyhead.errors import UserError
from dyhead.modeling.backbone import DyHead

logger = logging.getLogger(__name__)

BASELINE_DEPTH = 4  # convolutions per tower of a detector without DyHead
GROUPS = 32


class Scale(nn.Module):
    """Multiplication by one learned number."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Scale a tensor of any shape."""
        return x * self.scale


def build_tower(in_channels: int, channels: int, num_convs: int, use_gn: bool) -> nn.Sequential:
    """`num_convs` times a 3x3 convolution, GroupNorm if wanted, and ReLU; none is the identity.

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


def initialise_convolutions(module: nn.Module, std: float) -> None:
    """Normal weights and zero biases for every convolution in `module`."""
    for convolution in module.modules():
        if isinstance(convolution, nn.Conv2d):
            nn.init.normal_(convolution.weight, std=std)
            nn.init.zeros_(convolution.get_parameter("bias"))


def initialise_prior(predictor: nn.Conv2d, prior_prob: float) -> None:
    """Bias class logits so that every score starts at `prior_prob` (Lin et al., ICCV 2017, 3.3).

    Raises:
        UserError: no logit gives that score.
    """
    if not 0 < prior_prob < 1:
        raise UserError(f"PRIOR_PROB is {prior_prob}: set it above 0 and below 1, such as to 0.01.")
    nn.init.constant_(predictor.get_parameter("bias"), -math.log((1 - prior_prob) / prior_prob))


def tower_depth(num_convs: int, backbone: Backbone) -> int:
    """How many convolutions stand between the features and the predictors.

    DyHead blocks replace the towers. A DyHead backbone that has none, because NUM_CONVS is 0 or
    every attention is off, is the plain baseline, which gets back the four they replace.
    """
    if num_convs == 0 and isinstance(backbone, DyHead) and len(backbone.blocks) == 0:
        logger.info("No DyHead block: the head gets towers of %d convolutions.", BASELINE_DEPTH)
        return BASELINE_DEPTH
    return num_convs


def check_topk(topk: int) -> None:
    """Refuse a number of candidates with which no object would be learned.

    Raises:
        UserError: it is not positive.
    """
    if topk < 1:
        raise UserError(f"TOPK is {topk}: every object needs 1 candidate or more.")


def shared_channels(levels: Sequence[ShapeSpec]) -> int:
    """The number of channels that all feature maps have.

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
