"""The three attentions after the convolutions, in two passes over memory instead of some thirty.

One pass takes every channel's moments, small computations make coefficients of them
(`attention_coefficients`), and one pass writes the output (`ops.branch_mix`). For backward only the
convolutions' outputs and their moments are kept; second derivatives are not available.

Shape letters: as in `attention_coefficients`; H x W a level's size, h x w a convolution's output.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dyhead.layers.attention_coefficients import (
    Attentions,
    Parameters,
    attention_coefficients,
    constant_table,
    describe,
)
from dyhead.layers.scale_attention import ScaleAttention
from dyhead.layers.spatial_attention import SpatialAttention
from dyhead.ops import branch_mix

Size = tuple[int, int]


def attend(
    convolved: Iterable[Sequence[Tensor]],
    sizes: Sequence[Size],
    spatial: SpatialAttention,
    scale: ScaleAttention | None,
    task: nn.Module,
) -> list[Tensor]:
    """Normalise, weight, average and activate what the convolutions of every level gave.

    Args:
        convolved: (N, C, h, w) of the finer, the same and the coarser level, where there is one,
            for every level; of the level's size or smaller, all of one type.
        sizes: H, W of every level.
        spatial: whose convolutions they are.
        scale: weights the branches; None averages them.
        task: `DyReLU`, or ReLU.

    With gradients off, the outputs overwrite what was convolved.

    Returns:
        (N, C, H, W) per level, channels_last, of the type given; statistics and coefficients are
        float32 at least.
    """
    attentions, parameters = describe(spatial, scale, task, len(sizes))
    # On a GPU few launches count for more than memory does.
    is_gpu = parameters["norm.weight"].device.type != "cpu"
    if is_gpu or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return _attend(list(convolved), sizes, attentions, parameters)
    # The finest level has most of the memory: it is finished before the others are convolved.
    levels, outputs = iter(convolved), list[Tensor]()
    for part in (slice(0, 1), slice(1, len(sizes)))[: len(sizes)]:
        images = list(islice(levels, part.stop - part.start))
        outputs += _attend(images, sizes[part], attentions.of_levels(part), parameters)
        del images  # before the next ones are made
    return outputs


def _attend(
    convolved: Sequence[Sequence[Tensor]],
    sizes: Sequence[Size],
    attentions: Attentions,
    parameters: Parameters,
) -> list[Tensor]:
    """`attend` for some of the levels."""
    first = convolved[0][0]
    with torch.autocast(first.device.type, enabled=False):
        dtype = torch.promote_types(first.dtype, torch.float32)
        parameters = {name: parameter.to(dtype) for name, parameter in parameters.items()}
        if torch.compiler.is_compiling():
            return _attend_composed(convolved, sizes, attentions, parameters)
        images = [image.permute(0, 2, 3, 1).contiguous() for level in convolved for image in level]
        outputs: Sequence[Tensor]
        if torch.is_grad_enabled():
            outputs = _FusedAttention.apply(
                attentions, tuple(parameters), tuple(sizes), *parameters.values(), *images
            )
        else:
            levels = _by_level(images, attentions)
            _, outputs = _mix_levels(levels, sizes, attentions, parameters, overwrite=True)
    return [output.permute(0, 3, 1, 2) for output in outputs]


class _FusedAttention(torch.autograd.Function):
    """All levels of a block at once, so that small computations are few; maps are (N, h, w, C)."""

    @staticmethod
    def forward(
        ctx: Any,
        attentions: Attentions,
        names: tuple[str, ...],
        sizes: tuple[Size, ...],
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        parameters = dict(zip(names, tensors, strict=False))
        levels = _by_level(tensors[len(names) :], attentions)
        moments, outputs = _mix_levels(levels, sizes, attentions, parameters)
        ctx.save_for_backward(moments, *tensors)
        ctx.attentions, ctx.names, ctx.sizes = attentions, names, sizes
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        moments, *tensors = ctx.saved_tensors
        attentions = ctx.attentions
        parameters, images = tensors[: len(ctx.names)], tensors[len(ctx.names) :]
        levels = _by_level(images, attentions)
        grads = tuple(grad.contiguous() for grad in grads)
        leaves = [leaf.detach().requires_grad_() for leaf in (moments, *parameters)]
        # Whoever calls backward() within autocast must get the precision of forward all the same.
        with torch.enable_grad(), torch.autocast(moments.device.type, enabled=False):
            named = dict(zip(ctx.names, leaves[1:], strict=True))
            recorded = attention_coefficients(leaves[0], attentions, named)
            coefficients = tuple(tensor.detach() for tensor in recorded)
            sums = _coefficient_gradients(grads, levels, attentions, coefficients)
            grad_moments, *grad_parameters = torch.autograd.grad(recorded, leaves, sums)
        if not any(ctx.needs_input_grad[3 + len(parameters) :]):
            return None, None, None, *grad_parameters, *[None] * len(images)
        through = _moments_per_position(grad_moments, moments, levels, ctx.sizes, attentions)
        grad_images: list[Tensor] = []
        for index, (grad, branches) in enumerate(zip(grads, levels, strict=True)):
            present = attentions.branches[index]
            at_level = through[:, index, present.start : present.stop].contiguous()
            of_level = _of_level(attentions, index, *coefficients)
            grad_images += branch_mix.mix_backward(grad, branches, *of_level, at_level)
        return None, None, None, *grad_parameters, *grad_images


def _mix_levels(
    levels: Sequence[Sequence[Tensor]],
    sizes: Sequence[Size],
    attentions: Attentions,
    parameters: Parameters,
    overwrite: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Moments (L, B, 3, N, C) of the branches, and the outputs (N, H, W, C).

    With `overwrite` outputs take the place of branches, which saves a block's output in memory.
    """
    moments = _stack_branches(
        [
            [branch_mix.channel_moments(image, size) for image in images]
            for images, size in zip(levels, sizes, strict=True)
        ],
        attentions,
    )
    coefficients = attention_coefficients(moments, attentions, parameters)
    outputs = []
    for index, (images, size) in enumerate(zip(levels, sizes, strict=True)):
        at_size = (image for image in images if tuple(image.shape[1:3]) == size)
        out = next(at_size) if overwrite else None
        outputs.append(
            branch_mix.mix_forward(images, *_of_level(attentions, index, *coefficients), size, out)
        )
    return moments, tuple(outputs)


def _coefficient_gradients(
    grads: Sequence[Tensor],
    levels: Sequence[Sequence[Tensor]],
    attentions: Attentions,
    coefficients: tuple[Tensor, ...],
) -> tuple[Tensor, Tensor]:
    """The gradients of scales (L, B, N, C) and lines (L, 5, N, C)."""
    sums = [
        branch_mix.mix_reductions(grad, branches, *_of_level(attentions, index, *coefficients))
        for index, (grad, branches) in enumerate(zip(grads, levels, strict=True))
    ]
    grad_scales = _stack_branches([grad_scales.unbind() for grad_scales, _ in sums], attentions)
    return grad_scales, torch.stack([grad_lines for _, grad_lines in sums])


def _moments_per_position(
    grads: Tensor,
    moments: Tensor,
    levels: Sequence[Sequence[Tensor]],
    sizes: Sequence[Size],
    attentions: Attentions,
) -> Tensor:
    """What the gradients of moments give to every position, as `branch_mix.mix_backward` takes it.

    Args:
        grads, moments: (L, B, 3, N, C).
        levels: the branches (N, h, w, C).
        sizes: H, W.

    Returns:
        (3, L, B, N, C): pooled, constant, slope.
    """
    per_position, per_upsampled = [], []
    for index, (branches, (height, width)) in enumerate(zip(levels, sizes, strict=True)):
        shares = [0.0] * moments.shape[1]
        for slot, image in zip(attentions.branches[index], branches, strict=True):
            shares[slot] = 1 / (image.shape[1] * image.shape[2])
        per_position.append(tuple(shares))
        per_upsampled.append((1 / (height * width),) * len(shares))
    grad_mean, grad_variance, grad_pooled = grads.unbind(2)
    share = constant_table(tuple(per_position), moments)
    slope = 2 * share * grad_variance
    constant = share * grad_mean - slope * moments[:, :, 0]
    pooled = grad_pooled * constant_table(tuple(per_upsampled), moments)
    return torch.stack((pooled, constant, slope))


def _by_level(images: Sequence[Tensor], attentions: Attentions) -> list[list[Tensor]]:
    """Undo the flattening of the branches of all levels."""
    rest = iter(images)
    return [[next(rest) for _ in present] for present in attentions.branches]


def _stack_branches(levels: Sequence[Sequence[Tensor]], attentions: Attentions) -> Tensor:
    """Stack one tensor (...) per level and branch to (L, B, ...), zeros where one is missing."""
    zeros = torch.zeros_like(levels[0][0])
    rows = []
    for present, branches in zip(attentions.branches, levels, strict=True):
        by_slot = dict(zip(present, branches, strict=True))
        rows += [by_slot.get(slot, zeros) for slot in range(attentions.slots)]
    return torch.stack(rows).unflatten(0, (len(levels), attentions.slots))


def _of_level(
    attentions: Attentions, index: int, scales: Tensor, lines: Tensor
) -> tuple[Tensor, Tensor]:
    """The coefficients of one level, of the branches that it has."""
    present = attentions.branches[index]
    return scales[index, present.start : present.stop], lines[index]


def _attend_composed(
    convolved: Sequence[Sequence[Tensor]],
    sizes: Sequence[Size],
    attentions: Attentions,
    parameters: Parameters,
) -> list[Tensor]:
    """The same in PyTorch's own differentiable operators, for a compiler to fuse."""
    dtype = parameters["norm.weight"].dtype
    wide = [
        [_resize(image.to(dtype), size) for image in images]
        for images, size in zip(convolved, sizes, strict=True)
    ]
    moments = _stack_branches(
        [
            [_moments(image.to(dtype), upsampled) for image, upsampled in zip(*pair, strict=True)]
            for pair in zip(convolved, wide, strict=True)
        ],
        attentions,
    )
    scales, lines = attention_coefficients(moments, attentions, parameters)
    outputs = []
    for index, images in enumerate(wide):
        of_level = (
            tensor[..., None, None] for tensor in _of_level(attentions, index, scales, lines)
        )
        scale, (shift, slope1, offset1, slope2, offset2) = of_level
        mixed = shift
        for slot, image in enumerate(images):
            mixed = mixed + image * scale[slot]
        output = torch.maximum(mixed * slope1 + offset1, mixed * slope2 + offset2)
        outputs.append(output.to(convolved[index][0].dtype))
    return outputs


def _resize(image: Tensor, size: Size) -> Tensor:
    if tuple(image.shape[-2:]) == size:
        return image
    return F.interpolate(image, size, mode="bilinear", align_corners=True)


def _moments(image: Tensor, upsampled: Tensor) -> Tensor:
    """(N, C, h, w) and (N, C, H, W) to (3, N, C)."""
    variance, mean = torch.var_mean(image, (2, 3), correction=0)
    pooled = mean if upsampled is image else upsampled.mean((2, 3))
    return torch.stack((mean, variance, pooled))
