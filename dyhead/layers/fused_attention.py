"""GroupNorm, scale and task attention of a block, fused: two passes over memory, not some thirty.

One pass takes every channel's moments, while the convolutions write their outputs where the back
end can; small computations make coefficients of them (`attention_coefficients`), and one pass
writes the output (`ops.branch_mix`). For backward only the convolutions' outputs and their moments
are kept; second derivatives are not available.

Shape letters: as in `attention_coefficients`; H x W a level's size, h x w a convolution's output.
Maps are the convolutions' outputs as `ops.branch_mix` takes them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dyhead.layers.attention_coefficients import (
    Attentions,
    Parameters,
    attention_coefficients,
    constant_table,
)
from dyhead.layers.dispatch import Execution
from dyhead.layers.map_sizes import upsample
from dyhead.layers.scale_attention import ScaleAttention
from dyhead.layers.spatial_attention import Convolved, SpatialAttention
from dyhead.layers.task_attention import DyReLU
from dyhead.ops import branch_mix
from dyhead.ops.branch_mix import Maps, stack_levels
from dyhead.ops.first_derivative import once_differentiable
from dyhead.ops.recording import is_exported

Size = tuple[int, int]
Modules = tuple[SpatialAttention, ScaleAttention | None, nn.Module]

# From this many values of the finest level on, saving memory is worth an extra pass.
LARGE_LEVEL = 2**21


def attend_fused(levels: Sequence[Tensor], modules: Modules, execution: Execution) -> list[Tensor]:
    """Attend to every level of a pyramid, with the steps after the convolutions fused.

    Args:
        levels: (N, C, H, W), finest first.
        modules: spatial attention; scale attention, None to average the branches; task attention,
            `DyReLU` or ReLU.
        execution: a fused one.

    Returns:
        (N, O, H, W) per level, channels_last, of the convolutions' type.

    Raises:
        ValueError: the levels' sizes do not fit.
    """
    spatial, *_ = modules
    sizes = [(level.shape[2], level.shape[3]) for level in levels]
    prepared = _prepare(levels)
    kernels = spatial.kernels(prepared[0].dtype)
    outputs: list[Tensor] = []
    for part in _parts_of_pyramid(levels, execution):
        # Not assigned to a variable: a part's maps are freed before the next part is convolved.
        outputs += _attend(
            spatial.convolve(prepared, part, kernels), part, sizes, modules, execution
        )
    return outputs


def _prepare(levels: Sequence[Tensor]) -> list[Tensor]:
    """Bring levels to the convolutions' type and layout, once for all that read them."""
    device_type = levels[0].device.type
    autocast = None
    if torch.is_autocast_enabled(device_type):
        autocast = torch.get_autocast_dtype(device_type)
    dtypes = [
        level.dtype if autocast is None or level.dtype == torch.float64 else autocast
        for level in levels
    ]
    pairs = list(zip(levels, dtypes, strict=True))
    if is_exported():  # which would bind the graph to a layout
        return [level.to(dtype) for level, dtype in pairs]
    return [level.to(dtype, memory_format=torch.channels_last) for level, dtype in pairs]


def _parts_of_pyramid(levels: Sequence[Tensor], execution: Execution) -> list[range]:
    """Choose which levels to finish together: all, but for large ones on a CPU in inference.

    There the finest level, which has most of the memory, is finished before the others are
    convolved. On a GPU few launches count for more than memory does.
    """
    count, finest = len(levels), levels[0]
    is_apart = (
        execution is Execution.INFERENCE
        and count > 1
        and finest.device.type == "cpu"
        and finest.numel() >= LARGE_LEVEL
    )
    return [range(1), range(1, count)] if is_apart else [range(count)]


def _attend(
    convolved: Convolved,
    part: Sequence[int],
    sizes: Sequence[Size],
    modules: Modules,
    execution: Execution,
) -> list[Tensor]:
    """Normalise, weight, average and activate the outputs of the convolutions of some levels.

    Args:
        convolved: images of the level's size or a smaller one, all of one type. `INFERENCE`
            overwrites them.
        part: indices of these levels.
        sizes: H, W of every level of the pyramid.
        modules: spatial attention, whose convolutions they are; scale attention, None to average
            the branches; task attention, `DyReLU` or ReLU.
        execution: a fused one.

    Returns:
        (N, C, H, W) per level of the part, channels_last, of the type given; statistics and
        coefficients are float32 at least.
    """
    attentions, parameters = _describe(*modules, part, len(sizes))
    sizes = [sizes[index] for index in part]
    first = convolved.images[0]
    with torch.autocast(first.device.type, enabled=False):
        dtype = torch.promote_types(first.dtype, torch.float32)
        parameters = {name: parameter.to(dtype) for name, parameter in parameters.items()}
        if execution is Execution.COMPILED:
            return _compose(convolved.images, sizes, attentions, parameters)
        # The passes read the channels of a position side by side; of channels_last it is a view.
        images = [image.permute(0, 2, 3, 1).contiguous() for image in convolved.images]
        moments = _moments(convolved.moments, images, sizes, attentions)
        if execution is Execution.AUTOGRAD:
            outputs = _FusedAttention.apply(
                attentions, tuple(parameters), tuple(sizes), moments, *parameters.values(), *images
            )
        else:
            # Nothing needs the maps any more: outputs in their place save the memory of a level.
            maps = _by_level(images, attentions)
            outputs = _mix(maps, moments, sizes, attentions, parameters, overwrite=True)
    return [output.permute(0, 3, 1, 2) for output in outputs]


def _describe(
    spatial: SpatialAttention,
    scale: ScaleAttention | None,
    task: nn.Module,
    part: Sequence[int],
    count: int,
) -> tuple[Attentions, Parameters]:
    """Gather what the attentions of a block do after the convolutions of some levels.

    Args:
        spatial: whose branches are mixed.
        scale: None if there is no scale attention after the convolutions.
        task: `DyReLU`, or ReLU.
        part: indices of the levels.
        count: of the levels of the pyramid.
    """
    norm = spatial.same.norm
    branches = [spatial.finer, spatial.same, spatial.coarser] if count > 1 else [spatial.same]
    parameters: Parameters = {
        "norm.weight": torch.stack([branch.norm.weight for branch in branches]),
        "norm.bias": torch.stack([branch.norm.bias for branch in branches]),
    }
    scale_sigmoid = task_sigmoid = None
    if scale is not None:
        scale_sigmoid = scale.hard_sigmoid
        weight, parameters["score.bias"] = scale.score.parameters()
        parameters["score.weight"] = weight.flatten(1)
    if isinstance(task, DyReLU):
        task_sigmoid = task.hard_sigmoid
        parameters["squeeze.weight"], parameters["squeeze.bias"] = task.squeeze.parameters()
        parameters["expand.weight"], parameters["expand.bias"] = task.expand.parameters()
    present = tuple(_present_branches(level, count) for level in part)
    attentions = Attentions(
        present,
        len(branches),
        norm.num_groups,
        norm.eps,
        scale_sigmoid,
        task_sigmoid,
        spatial.record,
    )
    return attentions, parameters


def _present_branches(level: int, count: int) -> range:
    """Return the indices of a level's branches: the outer levels have one neighbour only."""
    return range(1) if count == 1 else range(int(level == 0), 3 - int(level == count - 1))


@torch.no_grad()
def _moments(
    taken: Sequence[Tensor] | None,
    images: Sequence[Tensor],
    sizes: Sequence[Size],
    attentions: Attentions,
) -> Tensor:
    """Stack moments that were taken, or take them: (L, B, 3, N, C), see `branch_mix`."""
    if taken is None:
        return branch_mix.channel_moments(_by_level(images, attentions), sizes)
    return stack_levels(_by_level(taken, attentions))


class _FusedAttention(torch.autograd.Function):
    """The passes of all levels of a block at once, so that small computations are few."""

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
    def backward(
        ctx: Any, saved: Sequence[Tensor], grads: Sequence[Tensor]
    ) -> tuple[Tensor | None, ...]:
        moments, *tensors = saved
        attentions = ctx.attentions
        parameters, images = tensors[: len(ctx.names)], tensors[len(ctx.names) :]
        maps = _by_level(images, attentions)
        contiguous = [grad.contiguous() for grad in grads]
        leaves = [leaf.detach().requires_grad_() for leaf in (moments, *parameters)]
        # Computing the coefficients again costs less than keeping what autograd would of them, and
        # a backward() that is called within autocast must get the precision of forward.
        with torch.enable_grad(), torch.autocast(moments.device.type, enabled=False):
            named = dict(zip(ctx.names, leaves[1:], strict=True))
            *recorded, _ = attention_coefficients(leaves[0], attentions, named)
            scales, dyrelu = (tensor.detach() for tensor in recorded)
            # The coefficients' gradients, through the small graph, give those of the moments, which
            # the pass over the maps adds to what positions get from the outputs directly.
            with torch.no_grad():  # saved maps require gradients: a graph would keep all of them
                sums = branch_mix.mix_reductions(contiguous, maps, scales, dyrelu)
            grad_moments, *grad_parameters = torch.autograd.grad(recorded, leaves, sums)
        # With frozen convolutions the second pass over the maps has nobody to serve.
        if not any(ctx.needs_input_grad[4 + len(parameters) :]):
            return None, None, None, None, *grad_parameters, *[None] * len(images)
        through = _moments_per_position(grad_moments, moments, maps, ctx.sizes)
        by_level = branch_mix.mix_backward(contiguous, maps, scales, dyrelu, through)
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
    """Compute the outputs (N, H, W, C)."""
    scales, dyrelu, shares = attention_coefficients(moments, attentions, parameters)
    if attentions.record is not None:
        _record(attentions, shares, dyrelu)
    return branch_mix.mix_forward(maps, scales, dyrelu, sizes, overwrite)


def _record(attentions: Attentions, shares: Tensor, dyrelu: Tensor) -> None:
    """Add to the record what the attentions that there are computed for each of the levels."""
    assert attentions.record is not None
    for index, present in enumerate(attentions.branches):
        if attentions.scale_sigmoid is not None:
            of_level = shares[index, present.start : present.stop]  # (B, N, 1)
            attentions.record.add_shares(of_level.squeeze(-1).T)
        if attentions.task_sigmoid is not None:
            attentions.record.add_dyrelu(dyrelu[index, 1:])


def _moments_per_position(
    grads: Tensor, moments: Tensor, maps: Maps, sizes: Sequence[Size]
) -> Tensor:
    """Turn gradients of moments into those of single positions, for `branch_mix.mix_backward`.

    A position's part in the mean is 1 / (h w), that in the variance 2 (y - mean) / (h w).

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
    """Undo the flattening of the branches of all levels: L lists of B, None for missing ones."""
    rest = iter(images)
    every = range(attentions.num_branches)
    return [
        [next(rest) if branch in present else None for branch in every]
        for present in attentions.branches
    ]


def _compose(
    images: Sequence[Tensor],
    sizes: Sequence[Size],
    attentions: Attentions,
    parameters: Parameters,
) -> list[Tensor]:
    """Attend in PyTorch's own differentiable operators, for a compiler to fuse."""
    dtype = parameters["norm.weight"].dtype
    wide = [image.to(dtype) for image in images]
    level_sizes = (
        size for size, present in zip(sizes, attentions.branches, strict=True) for _ in present
    )
    upsampled = list(map(upsample, wide, level_sizes))
    moments = stack_levels(_by_level(list(map(_compose_moments, wide, upsampled)), attentions))
    scales, dyrelu, _ = attention_coefficients(moments, attentions, parameters)
    outputs = []
    for index, level in enumerate(_by_level(upsampled, attentions)):
        shift, slope1, intercept1, slope2, intercept2 = dyrelu[index, ..., None, None]
        mixed = shift
        for image, scale in zip(level, scales[index, ..., None, None], strict=True):
            if image is not None:
                mixed = mixed + image * scale
        output = torch.maximum(mixed * slope1 + intercept1, mixed * slope2 + intercept2)
        outputs.append(output.to(images[0].dtype))
    return outputs


def _compose_moments(image: Tensor, upsampled: Tensor) -> Tensor:
    """Measure (N, C, h, w), and the same after upsampling (N, C, H, W): (3, N, C)."""
    variance, mean = torch.var_mean(image, (2, 3), correction=0)
    pooled = mean if upsampled is image else upsampled.mean((2, 3))
    return torch.stack((mean, variance, pooled))
