"""The baseline of the benchmarks: the official formulation on torchvision's operator.

A block as the official code computes it: level by level, every branch convolved, normalised and
(the coarser one) upsampled by itself, stacked, weighted and averaged; contiguous NCHW, nothing
fused. It shares its parameters with a block of ours, so that both give the same values and
gradients.
"""

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from dyhead.layers import DeformableBranch, DyHeadBlock, DyReLU, ScaleAttention
from dyhead.layers.attention_coefficients import official_hard_sigmoid
from dyhead.ops.backends import BACKEND_VARIABLE

TAPS = 9

# (input, offset, mask, weight, bias, stride) -> output, of a 3x3 convolution with padding 1
Operator = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor | None, int], Tensor]


def torchvision_operator(
    input: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, stride: int
) -> Tensor:
    """Call torchvision's modulated deformable convolution."""
    return deform_conv2d(input, offset, weight, bias, stride, padding=1, mask=mask)


class BaselineBlock(nn.Module):
    """The official block on the parameters of one of ours."""

    def __init__(self, block: DyHeadBlock, operator: Operator = torchvision_operator) -> None:
        """Take the parameters of `block`, which stay its own.

        Raises:
            ValueError: the block does not compute as the official code does.
        """
        super().__init__()
        _check_official(block)
        self.operator = operator
        self.offset_and_mask: Any = block.spatial_attention.offset_and_mask
        self.same = block.spatial_attention.same
        self.finer = block.spatial_attention.finer
        self.coarser = block.spatial_attention.coarser
        self.scale_attention: Any = block.scale_attention
        self.task_attention: Any = block.task_attention

    def forward(
        self, features: Mapping[str, Tensor] | Sequence[Tensor]
    ) -> dict[str, Tensor] | list[Tensor]:
        """Compute the same as `DyHeadBlock.forward`."""
        if isinstance(features, Mapping):
            return dict(zip(features, self(list(features.values())), strict=True))
        levels = [feature.contiguous() for feature in features]
        return [self.attend(levels, index) for index in range(len(levels))]

    def attend(self, levels: Sequence[Tensor], index: int) -> Tensor:
        """Compute one level: stack the branches, weight each, average, activate."""
        branches = torch.stack(self.branches(levels, index))  # (branches, N, O, H, W)
        weights = torch.stack([self.scale_weight(branch) for branch in branches])
        return self.activate((branches * weights).mean(dim=0))

    def branches(self, levels: Sequence[Tensor], index: int) -> list[Tensor]:
        """Convolve the same, the finer and the coarser level (upsampled), (N, O, H, W) each."""
        level = levels[index]
        where = self.offset_and_mask(level)
        offset, mask = where[:, : 2 * TAPS], where[:, 2 * TAPS :].sigmoid()
        found = [self.convolve(self.same, level, offset, mask)]
        if index > 0:
            found.append(self.convolve(self.finer, levels[index - 1], offset, mask))
        if index < len(levels) - 1:
            coarser = levels[index + 1]
            height, width = coarser.shape[-2:]
            small = self.convolve(
                self.coarser,
                coarser,
                _beginning(offset, height, width),
                _beginning(mask, height, width),
            )
            size = level.shape[-2:]
            found.append(F.interpolate(small, size, mode="bilinear", align_corners=True))
        return found

    def convolve(
        self, branch: DeformableBranch, feature: Tensor, offset: Tensor, mask: Tensor
    ) -> Tensor:
        """Apply the deformable convolution and GroupNorm."""
        out = self.operator(feature, offset, mask, branch.weight, branch.bias, branch.stride)
        return branch.norm(out)

    def scale_weight(self, branch: Tensor) -> Tensor:
        """Compute the scale attention's weight of a branch, (N, O, H, W) to (N, 1, 1, 1)."""
        score = self.scale_attention.score
        return official_hard_sigmoid(F.relu(score(F.adaptive_avg_pool2d(branch, 1))))

    def activate(self, feature: Tensor) -> Tensor:
        """Apply DyReLU."""
        squeeze, expand = self.task_attention.squeeze, self.task_attention.expand
        pooled = F.adaptive_avg_pool2d(feature, 1).flatten(1)
        theta = official_hard_sigmoid(expand(F.relu(squeeze(pooled))))[..., None, None]
        a1, b1, a2, b2 = theta.chunk(4, dim=1)
        first = feature * (2 * (a1 - 0.5) + 1) + (b1 - 0.5)
        second = feature * (2 * (a2 - 0.5)) + (b2 - 0.5)
        return torch.max(first, second)


def _beginning(offset_map: Tensor, height: int, width: int) -> Tensor:
    """Read the beginning of a larger map as the official kernel does (`layers.map_sizes`)."""
    batch, channels = offset_map.shape[:2]
    flat = offset_map.flatten(1)[:, : channels * height * width]
    return flat.reshape(batch, channels, height, width)


def _check_official(block: DyHeadBlock) -> None:
    spatial, scale, task = block.spatial_attention, block.scale_attention, block.task_attention
    is_official = (
        not block.scale_first
        and spatial.offset_and_mask is not None
        and spatial.coarser_offsets == "flat_read"
        and isinstance(scale, ScaleAttention)
        and isinstance(task, DyReLU)
        and scale.hard_sigmoid is task.hard_sigmoid is official_hard_sigmoid
    )
    if not is_official:
        raise ValueError("The baseline computes as the official code: keep BlockOptions' defaults.")


class BaselineDetector(nn.Module):
    """A detector whose every deformable convolution is torchvision's."""

    def __init__(self, model: nn.Module) -> None:
        """Wrap `model`, whose DyHead blocks are baselines already."""
        super().__init__()
        self.model = model

    def forward(self, *inputs: Any) -> Any:
        """Run the detector."""
        with forced_backend("torchvision"):
            return self.model(*inputs)


def use_baseline(model: nn.Module, operator: Operator = torchvision_operator) -> nn.Module:
    """Copy `model` with every DyHeadBlock replaced by the baseline.

    Deformable convolutions elsewhere (in a backbone's stages, in RepPoints) run on torchvision too.
    """
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, DyHeadBlock):
                setattr(parent, name, BaselineBlock(child, operator))
    return BaselineDetector(model)


@contextmanager
def forced_backend(backend: str) -> Iterator[None]:
    """Force the back end of every deformable convolution of ours."""
    before = os.environ.get(BACKEND_VARIABLE)
    os.environ[BACKEND_VARIABLE] = backend
    try:
        yield
    finally:
        if before is None:
            del os.environ[BACKEND_VARIABLE]
        else:
            os.environ[BACKEND_VARIABLE] = before
