"""Fused DyHead blocks and stacks for comparison with plain ones in float64."""

import copy
from typing import NamedTuple

import torch
from gpu_cases import CHANNELS, DEVICE, normals
from torch import Tensor, nn

from dyhead.layers import BlockOptions, DyHeadStack

# What a block launches forward and backward, by modules of dyhead.ops; each once for all levels and
# branches. `moments_kernel` has nothing left to do.
KERNELS = {
    "triton.deform_kernels": [
        "forward_kernel",
        "backward_samples_kernel",
        "backward_kernels_kernel",
    ],
    "triton.moments_kernels": ["join_moments_kernel"],
    "triton.mix_kernels": ["forward_kernel", "reductions_kernel", "join_reductions_kernel"],
    "triton.mix_backward_kernels": ["backward_kernel", "finish_upsampled_kernel"],
}
MID_PIXEL = 0.5


def make_stack(num_blocks: int = 1, recompute: bool = False) -> DyHeadStack:
    """Fused blocks with parameters whose gradients do not hang on rounding.

    Gradients of offsets jump where a tap crosses a pixel. So taps stay near the middle between
    pixels, within a fifth of a pixel, each between others.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stack = DyHeadStack(CHANNELS, CHANNELS, num_blocks, recompute=recompute).to(DEVICE)
    normal = normals(7)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter += 0.1 * normal(*parameter.shape)
        for block in stack:
            convolution = block.spatial_attention.offset_and_mask
            convolution.weight.copy_(normal(*convolution.weight.shape))
            convolution.weight *= 0.04 * convolution.weight[0].numel() ** -0.5
            convolution.bias.copy_(normal(*convolution.bias.shape))
            convolution.bias[:18].floor_().clamp_(-2, 1).add_(MID_PIXEL)
    return stack


def plain_double(stack: DyHeadStack) -> DyHeadStack:
    """The same parameters in float64 in blocks that compute one operator after the other."""
    plain = DyHeadStack(CHANNELS, CHANNELS, len(stack), BlockOptions(fused=False))
    plain.load_state_dict(copy.deepcopy(stack.state_dict()))
    return plain.to(DEVICE, torch.float64)


def make_levels(sizes, batch: int, seed: int = 1) -> list[Tensor]:
    """(N, C, H, W) of every level, float32."""
    normal = normals(seed)
    return [normal(batch, CHANNELS, *size) for size in sizes]


def make_cotangents(levels, near: float, plain: DyHeadStack) -> list[Tensor]:
    """Gradients of the outputs, zero where the last block's two lines are nearer than that.

    Which line gets the gradient is a matter of rounding there.
    """
    gaps: list[Tensor] = []

    def note(task, arguments, _):
        slope1, intercept1, slope2, intercept2 = task.coefficients(*arguments)
        gaps.append(((slope1 - slope2) * arguments[0] + intercept1 - intercept2).abs())

    normal = normals(2)
    with plain[-1].task_attention.register_forward_hook(note), torch.no_grad():
        plain([level.double() for level in levels])
    return [normal(*gap.shape).where(gap > near, 0) for gap in gaps]


class Outcome(NamedTuple):
    """Outputs, and gradients of the levels and of the parameters by name."""

    outputs: list[Tensor]
    levels: list[Tensor]
    parameters: dict[str, Tensor]


def outcome(stack: nn.Module, levels, cotangents, autocast: torch.dtype | None = None) -> Outcome:
    """Run forward and backward; the forward pass under autocast, where a type is given."""
    leaves = [level.detach().requires_grad_() for level in levels]
    with torch.autocast(DEVICE.type, autocast, enabled=autocast is not None):
        outputs = stack(leaves)
    named = dict(stack.named_parameters())
    cotangents = [
        cotangent.to(output.dtype) for cotangent, output in zip(cotangents, outputs, strict=True)
    ]
    found = torch.autograd.grad(outputs, [*leaves, *named.values()], cotangents)
    of_levels, of_parameters = found[: len(leaves)], found[len(leaves) :]
    return Outcome(
        [output.detach() for output in outputs],
        list(of_levels),
        dict(zip(named, of_parameters, strict=True)),
    )
