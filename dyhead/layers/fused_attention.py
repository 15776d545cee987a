"""The three attentions after the convolutions, in two passes over memory instead of some thirty.

One pass takes every channel's moments, while the convolutions write their outputs where the back
end can; small computations make coefficients of them (`attention_coefficients`), and one pass
writes the output (`ops.branch_mix`). For backward only the convolutions' outputs and their moments
are kept; second derivatives are not available.

Shape letters: as in `attention_coefficients`; H x W a level's size, h x w a convolution's output.
Maps are the convolutions' outputs as `ops.branch_mix` takes them.
"""

from collections.abc import Iterable, Sequence
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
from dyhead.layers.spatial_attention import Convolved, SpatialAttention
from dyhead.ops import branch_mix
from dyhead.ops.branch_mix import Maps, stack_levels

Size = tuple[int, int]

# Values of the finest level from which on its maps' memory counts for more than a pass of its own.
LARGE_LEVEL = 2**21


def parts_of_pyramid(levels: Sequence[Tensor]) -> list[range]:
    """Which levels to finish together: all, but for large ones on a CPU without gradients.

    There the finest level, which has most of the memory, is finished before the others are
    convolved. On a GPU few launches count for more than memory does.
    """
    count, finest = len(levels), levels[0]
    is_kept = torch.is_grad_enabled() or torch.compiler.is_compiling()
    if count == 1 or is_kept or finest.device.type != "cpu" or finest.numel() < LARGE_LEVEL:
        return [range(count)]
    return [range(1), range(1, count)]


def attend(
    convolved: Iterable[Convolved],
    parts: Sequence[range],
    sizes: Sequence[Size],
    spatial: SpatialAttention,
    scale: ScaleAttention | None,
    task: nn.Module,
) -> list[Tensor]:
    """Normalise, weight, average and activate what the convolutions of every level gave.

    Args:
        convolved: for each part what `spatial` gave; images have the level's size or a smaller one,
            and all one type.
        parts: from `parts_of_pyramid`.
        sizes: H, W of every level.
        spatial: whose convolutions they are.
        scale: weights the branches; None averages them.
        task: `DyReLU`, or ReLU.

    With gradients off, the outputs may overwrite what was convolved.

    Returns:
        (N, C, H, W) per level, channels_last, of the type given; statistics and coefficients are
        float32 at least.
    """
    attentions, parameters = describe(spatial, scale, task, len(sizes))
    outputs: list[Tensor] = []
    of_parts = iter(convolved)
    for part in parts:
        levels = slice(part.start, part.stop)
        present = attentions.of_levels(levels)
        outputs += _attend(next(of_parts), sizes[levels], present, parameters)
    return outputs


def _attend(
    convolved: Convolved,
    sizes: Sequence[Size],
    attentions: Attentions,
    parameters: Parameters,
) -> list[Tensor]:
    """`attend` for some of the levels."""
    first = convolved.images[0]
    with torch.autocast(first.device.type, enabled=False):
        dtype = torch.promote_types(first.dtype, torch.float32)
        parameters = {name: parameter.to(dtype) for name, parameter in parameters.items()}
        if torch.compiler.is_compiling():
            return _attend_composed(convolved.images, sizes, attentions, parameters)
        images = [image.permute(0, 2, 3, 1).contiguous() for image in convolved.images]
        moments = _moments(convolved.moments, images, sizes, attentions)
        if torch.is_grad_enabled():
            outputs = _FusedAttention.apply(
                attentions, tuple(parameters), tuple(sizes), moments, *parameters.values(), *images
            )
        else:
            maps = _by_level(images, attentions)
            outputs = _mix(maps, moments, sizes, attentions, parameters, overwrite=True)
    return [output.permute(0, 3, 1, 2) for output in outputs]


@torch.no_grad()
def _moments(
    taken: Sequence[Tensor] | None,
    images: Sequence[Tensor],
    sizes: Sequence[Size],
    attentions: Attentions,
) -> Tensor:
    """(L, B, 3, N, C), as `branch_mix.channel_moments` gives them; taken already, or now."""
    if taken is None:
        return branch_mix.channel_moments(_by_level(images, attentions), sizes)
    return stack_levels(_by_level(taken, attentions))


class _FusedAttention(torch.autograd.Function):
    """All levels of a block at once, so that small computations are few; maps are (N, h, w, C)."""

    @staticmethod
    def forward(
        ctx: Any,
        attentions: Attentions,
        names: tuple[str, ...],
        sizes: tuple[Size, ...],
        moments: Tensor,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        parameters = dict(zip(names, tensors, strict=False))
        maps = _by_level(tensors[len(names) :], attentions)
        outputs = _mix(maps, moments, sizes, attentions, parameters)
        ctx.save_for_backward(moments, *tensors)
        ctx.attentions, ctx.names, ctx.sizes = attentions, names, sizes
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        moments, *tensors = ctx.saved_tensors
        attentions = ctx.attentions
        parameters, images = tensors[: len(ctx.names)], tensors[len(ctx.names) :]
        maps = _by_level(images, attentions)
        contiguous = [grad.contiguous() for grad in grads]
        leaves = [leaf.detach().requires_grad_() for leaf in (moments, *parameters)]
        # Whoever calls backward() within autocast must get the precision of forward all the same.
        with torch.enable_grad(), torch.autocast(moments.device.type, enabled=False):
            named = dict(zip(ctx.names, leaves[1:], strict=True))
            recorded = attention_coefficients(leaves[0], attentions, named)
            scales, lines = (tensor.detach() for tensor in recorded)
            sums = branch_mix.mix_reductions(contiguous, maps, scales, lines)
            grad_moments, *grad_parameters = torch.autograd.grad(recorded, leaves, sums)
        if not any(ctx.needs_input_grad[4 + len(parameters) :]):
            return None, None, None, None, *grad_parameters, *[None] * len(images)
        through = _moments_per_position(grad_moments, moments, maps, ctx.sizes)
        by_level = branch_mix.mix_backward(contiguous, maps, scales, lines, through)
        grad_images = [grad for level in by_level for grad in level if grad is not None]
        return None, None, None, None, *grad_parameters, *grad_images


def _mix(
    maps: Maps,
    moments: Tensor,
    sizes: Sequence[Size],
    attentions: Attentions,
    parameters: Parameters,
    overwrite: bool = False,
) -> list[Tensor]:
    """The outputs (N, H, W, C)."""
    scales, lines = attention_coefficients(moments, attentions, parameters)
    return branch_mix.mix_forward(maps, scales, lines, sizes, overwrite)


def _moments_per_position(
    grads: Tensor, moments: Tensor, maps: Maps, sizes: Sequence[Size]
) -> Tensor:
    """What the gradients of moments give to every position, as `branch_mix.mix_backward` takes it.

    Args:
        grads, moments: (L, B, 3, N, C).
        maps: (N, h, w, C).
        sizes: H, W.

    Returns:
        (3, L, B, N, C): pooled, constant, slope.
    """
    per_position = tuple(
        tuple(0.0 if image is None else 1 / (image.shape[1] * image.shape[2]) for image in level)
        for level in maps
    )
    per_upsampled = tuple((1 / (height * width),) * len(maps[0]) for height, width in sizes)
    grad_mean, grad_variance, grad_pooled = grads.unbind(2)
    share = constant_table(per_position, moments)
    slope = 2 * share * grad_variance
    constant = share * grad_mean - slope * moments[:, :, 0]
    pooled = grad_pooled * constant_table(per_upsampled, moments)
    return torch.stack((pooled, constant, slope))


def _by_level(images: Sequence[Tensor], attentions: Attentions) -> Maps:
    """Undo the flattening of what all levels have: L lists of B, None for what is missing."""
    rest = iter(images)
    return [
        [next(rest) if slot in present else None for slot in range(attentions.slots)]
        for present in attentions.branches
    ]


def _attend_composed(
    images: Sequence[Tensor],
    sizes: Sequence[Size],
    attentions: Attentions,
    parameters: Parameters,
) -> list[Tensor]:
    """The same in PyTorch's own differentiable operators, for a compiler to fuse."""
    dtype = parameters["norm.weight"].dtype
    wide = [image.to(dtype) for image in images]
    level_sizes = (
        size for size, present in zip(sizes, attentions.branches, strict=True) for _ in present
    )
    upsampled = list(map(_resize, wide, level_sizes))
    moments = stack_levels(_by_level(list(map(_moments_composed, wide, upsampled)), attentions))
    scales, lines = attention_coefficients(moments, attentions, parameters)
    outputs = []
    for index, level in enumerate(_by_level(upsampled, attentions)):
        shift, slope1, offset1, slope2, offset2 = lines[index, ..., None, None]
        mixed = shift
        for image, scale in zip(level, scales[index, ..., None, None], strict=True):
            if image is not None:
                mixed = mixed + image * scale
        output = torch.maximum(mixed * slope1 + offset1, mixed * slope2 + offset2)
        outputs.append(output.to(images[0].dtype))
    return outputs


def _resize(image: Tensor, size: Size) -> Tensor:
    if tuple(image.shape[-2:]) == size:
        return image
    return F.interpolate(image, size, mode="bilinear", align_corners=True)


def _moments_composed(image: Tensor, upsampled: Tensor) -> Tensor:
    """(N, C, h, w) and (N, C, H, W) to (3, N, C)."""
    variance, mean = torch.var_mean(image, (2, 3), correction=0)
    pooled = mean if upsampled is image else upsampled.mean((2, 3))
    return torch.stack((mean, variance, pooled))
