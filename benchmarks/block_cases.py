"""DyHead blocks of one set of weights in every variant, ready to be measured."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from baseline import BaselineBlock
from mmdet_formulation import MMDetectionBlock, mmcv_operator
from torch import Tensor, nn
from variants import Variant

from dyhead.layers import BlockOptions, DyHeadBlock, DyHeadStack

OFFSET_STD = 2.0  # pixels, about that of a trained DyHead


def level_sizes(size: Sequence[int], levels: Sequence[int]) -> list[tuple[int, int]]:
    """List height and width of the levels from P<levels[0]> to P<levels[1]> of an image."""
    first, last = levels
    return [(-(-size[0] // 2**level), -(-size[1] // 2**level)) for level in range(first, last + 1)]


def count_outputs(sizes: Sequence[tuple[int, int]]) -> int:
    """Count the positions at which a block convolves, over all levels and branches."""
    positions = [height * width for height, width in sizes]
    return sum(positions) + 2 * sum(positions[1:])


def make_features(
    sizes: Sequence[tuple[int, int]], channels: int, batch: int, device: torch.device
) -> list[Tensor]:
    """Draw random levels (N, C, H_i, W_i)."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, channels, *size, generator=generator).to(device) for size in sizes]


def make_stack(channels: int, num_blocks: int, device: torch.device) -> DyHeadStack:
    """Build plain blocks with random weights and offsets as wide as a trained DyHead's."""
    torch.manual_seed(0)
    stack = DyHeadStack(channels, channels, num_blocks, BlockOptions(fused=False))
    for block in stack:
        assert isinstance(block, DyHeadBlock)
        convolution: Any = block.spatial_attention.offset_and_mask
        fan_in = convolution.weight[0].numel()
        nn.init.normal_(convolution.weight[:18], std=OFFSET_STD / fan_in**0.5)
    return stack.to(device)


class BlockCase:
    """A stack of blocks in one variant, with inputs in its favourite memory format."""

    def __init__(self, variant: Variant, stack: DyHeadStack, features: Sequence[Tensor]) -> None:
        """Share the parameters of `stack`; nothing runs yet."""
        is_ours = variant.block in ("plain", "fused")
        self.variant = variant
        self.module = build(variant, stack)
        self.device = features[0].device
        # As our pyramid gives them: on a CPU it is channels_last in evaluation alone.
        layout = torch.channels_last if is_ours else torch.contiguous_format
        trained_layout = torch.contiguous_format if self.device.type == "cpu" else layout
        self.features = [x.detach().contiguous(memory_format=layout) for x in features]
        self.trained = [
            x.detach().contiguous(memory_format=trained_layout).requires_grad_() for x in features
        ]
        self.leaves = [*self.trained, *stack.parameters()]

    def run(self) -> list[Tensor]:
        """Run a forward pass, recorded for backward."""
        with self.variant.active(self.device):
            return self.module(self.trained)

    def forward(self) -> list[Tensor]:
        """Run a forward pass of inference."""
        with torch.no_grad(), self.variant.active(self.device):
            return self.module(self.features)

    def training(self) -> tuple[Tensor, ...]:
        """Compute the gradients of the features, then of the parameters."""
        outputs = self.run()
        # of values that differ, or GroupNorm's gradient would vanish
        cotangents = [output.detach().sin() for output in outputs]
        with self.variant.active(self.device):
            return torch.autograd.grad(outputs, self.leaves, cotangents)


def build(variant: Variant, stack: DyHeadStack) -> nn.Module:
    """Build the blocks of `variant` on the parameters of `stack`."""
    module: Any
    blocks: list[Any] = list(stack)
    if variant.block == "baseline":
        module = nn.Sequential(*(BaselineBlock(block) for block in blocks))
    elif variant.block == "mmdet":
        operator = mmcv_operator()
        if operator is None:
            raise ValueError("MMDetection's formulation needs mmcv, which can't be imported.")
        module = nn.Sequential(*(MMDetectionBlock(block, operator) for block in blocks))
    elif variant.block == "plain":
        module = stack
    else:
        module = _fused(stack)
    if variant.compiled:
        module = torch.compile(module)
    return module


def _fused(stack: DyHeadStack) -> DyHeadStack:
    channels = stack.out_channels
    fused = DyHeadStack(channels, channels, len(stack), BlockOptions(fused=True))
    parameters = dict(stack.named_parameters())
    for name, _ in list(fused.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        setattr(fused.get_submodule(owner), leaf, parameters[name])
    return fused


def exact_outputs(case: BlockCase) -> list[Tensor]:
    """Compute the outputs of `case` in float64."""
    module = copy.deepcopy(case.module).double()
    with torch.no_grad():
        return module([x.double() for x in case.features])
