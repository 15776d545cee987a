"""GroupNorm, scale and task attention of a block as coefficients per image and channel.

Once the statistics of a GroupNorm are known it is affine per channel; scale attention multiplies by
a scalar; the mean over branches is linear; DyReLU is the larger of two affine functions. So from
the convolutions' outputs y_b to the block's output there is only

    z = sum_b scale_b * upsampled(y_b) + shift
    output = max(slope1 * z + intercept1, slope2 * z + intercept2)

with coefficients per image and channel. What the attentions pool are means of affine functions of
the y_b, hence affine functions of their means. So coefficients need no more than every channel's
mean, its variance, and its mean after upsampling where a coarser level's output is upsampled.

The hard sigmoids are those of the attentions' own modules too.

Shape letters: L levels; B branches: finer, same, coarser (one level alone has only "same"); N
images; C channels; G groups of the norm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from dyhead.ops.pytorch.device_constants import device_constant

if TYPE_CHECKING:
    from dyhead.layers.recorder import BlockRecord

Parameters = dict[str, Tensor]
Sigmoid = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Attentions:
    """The attentions of a block after its convolutions, without their parameters.

    Attributes:
        branches: indices of the branches of every level, among finer, same, coarser.
        num_branches: B.
        norm_groups, norm_epsilon: of GroupNorm.
        scale_sigmoid: None if branches are averaged as they are.
        task_sigmoid: None for ReLU.
        record: what the coefficients of a forward pass are added to; None for nothing.
    """

    branches: Sequence[range]
    num_branches: int
    norm_groups: int
    norm_epsilon: float
    scale_sigmoid: Sigmoid | None
    task_sigmoid: Sigmoid | None
    record: "BlockRecord | None" = None


def attention_coefficients(
    moments: Tensor, attentions: Attentions, parameters: Parameters
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what every branch is multiplied by, and the shift and the DyReLU of the result.

    Args:
        moments: (L, B, 3, N, C): mean, variance, mean after upsampling; finite where a level lacks
            a branch.
        attentions, parameters: of a block, see `fused_attention`.

    Returns:
        scales (L, B, N, C), zero where a level lacks a branch, and shift and DyReLU coefficients
        (L, 5, N, C), both as `ops.branch_mix` takes them; and the part of the scale attention in
        the scales: (L, B, N, 1), its weights over the number of branches, or (L, B, 1, 1) without.
    """
    mean, variance, pooled = moments.unbind(2)

    # Spatial attention ends with GroupNorm(y) = gain * y + bias.
    gain, bias = _group_norm(mean, variance, attentions, parameters)

    # Scale attention: a weight per branch from the mean of GroupNorm(y), then the branches' mean.
    weights = _branch_shares(attentions.branches, moments)
    if attentions.scale_sigmoid is not None:
        normalised = torch.addcmul(bias, gain, pooled)
        score = F.linear(normalised, parameters["score.weight"], parameters["score.bias"])
        weights = weights * attentions.scale_sigmoid(F.relu(score))  # (L, B, N, 1)
    scales = gain * weights
    shift = (bias * weights).sum(1)  # (L, N, C)

    # Task attention: slopes and intercepts from the mean of z; those of ReLU are constants.
    if attentions.task_sigmoid is None:
        zero, one = torch.zeros_like(shift), torch.ones_like(shift)
        return scales, torch.stack((shift, one, zero, zero, zero), dim=1), weights
    feature = (scales * pooled).sum(1) + shift
    hidden = F.linear(feature, parameters["squeeze.weight"], parameters["squeeze.bias"])
    theta = F.linear(F.relu(hidden), parameters["expand.weight"], parameters["expand.bias"])
    slope1, intercept1, slope2, intercept2 = (attentions.task_sigmoid(theta) - 0.5).chunk(4, dim=-1)
    dyrelu = torch.stack((shift, 2 * slope1 + 1, intercept1, 2 * slope2, intercept2), dim=1)
    return scales, dyrelu, weights


def official_hard_sigmoid(x: Tensor) -> Tensor:
    """Compute relu6(x + 3) / 6, in [0, 1].

    Not `F.hardsigmoid`: on CPU that one rounds 1/6 to float32 even for float64 tensors.
    """
    return F.relu6(x + 3) / 6


def paper_hard_sigmoid(x: Tensor) -> Tensor:
    """Compute max(0, min(1, (x + 1) / 2)) (Dai et al., CVPR 2021, equation 3)."""
    return ((x + 1) / 2).clamp(0, 1)


HARD_SIGMOIDS: dict[str, Callable[[Tensor], Tensor]] = {
    "official": official_hard_sigmoid,
    "paper": paper_hard_sigmoid,
}


def _branch_shares(branches: Sequence[range], moments: Tensor) -> Tensor:
    """Return (L, B, 1, 1): one over the number of branches, zero where a level lacks the branch."""
    every = range(moments.shape[1])
    rows = (tuple((index in present) / len(present) for index in every) for present in branches)
    return constant_table(tuple(rows), moments)


def constant_table(rows: tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """Return (L, B, 1, 1) of the type of `like`, copied to its device once."""
    return device_constant(tuple, (rows,), like)[..., None, None]


def _group_norm(
    mean: Tensor, variance: Tensor, attentions: Attentions, parameters: Parameters
) -> tuple[Tensor, Tensor]:
    """Compute GroupNorm's gain and bias from the moments of channels; all (L, B, N, C).

    A group's variance is the mean of its channels' variances plus the variance of their means.
    """
    groups = (attentions.norm_groups, -1)
    mean, variance = mean.unflatten(-1, groups), variance.unflatten(-1, groups)  # (L, B, N, G, _)
    group_mean = mean.mean(-1, keepdim=True)
    group_variance = (variance + (mean - group_mean).square()).mean(-1, keepdim=True)
    weight = parameters["norm.weight"][:, None].unflatten(-1, groups)  # (B, 1, G, _)
    bias = parameters["norm.bias"][:, None].unflatten(-1, groups)
    gain = weight * (group_variance + attentions.norm_epsilon).rsqrt()
    return gain.flatten(-2), (bias - gain * group_mean).flatten(-2)
