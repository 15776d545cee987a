"""The modulated deformable convolution in Triton, for CUDA: float32, float16 and bfloat16.

Sampling and matrix product are one kernel: a tile of columns is sampled into shared memory and
multiplied there, so that the columns, K times larger than the input, never reach device memory.
Backward makes the tiles again. Products accumulate in float32 whatever the dtype. Several
convolutions, as those of all levels and branches of a DyHead block, share their launches.

Triton is optional: without it, or where it does not work, `serves` says so and nothing raises.

Shape letters: as in `deform_conv`; P output positions and R input pixels of all convolutions.
"""

import itertools
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dyhead.ops.pytorch import branch_mix as torch_branch_mix
from dyhead.ops.pytorch.embedding_bag import deform_conv_by_bags
from dyhead.ops.triton.branch_mix import join_moments
from dyhead.ops.triton.descriptors import (
    MOST_RECORDS,
    count_blocks,
    device_table,
    join_rows,
    split_rows,
)
from dyhead.ops.triton.grouped_convolutions import Layout, Problems, as_table
from dyhead.ops.triton.launch_options import (
    backward_samples_options,
    backward_weight_options,
    forward_options,
    precision,
)
from dyhead.ops.triton.pyramid import map_record
from dyhead.ops.triton.self_check import passes_check, values

Pair = tuple[int, int]
Size = tuple[int, int]

# Gradients of weights are summed over parts of the positions, each about so long at least, as many
# as fill the processors with two programs each; every part costs one more float32 copy of a weight.
MIN_SPAN = 256


def serves(device: torch.device) -> bool:
    """Whether this back end works on `device`; see `triton_check.passes_check`."""
    return passes_check(device, _outcomes, "The deformable convolution uses torchvision")


def _outcomes(
    device: torch.device, dtype: torch.dtype
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Outputs and gradients of two convolutions in one launch, ours and plain PyTorch's."""
    exact = values(
        *((1, 18, 5, 7), (17, 18, 3, 3), (17,)),
        *((1, 18, 4, 6), (17, 18, 3, 3), (17,)),
        *((1, 17, 3, 5), (1, 17, 1, 2)),
    )
    exact = [value.to(device, dtype).float() for value in exact]
    planes = values((1, 27, 3, 5), (1, 27, 1, 2))
    wheres = [
        [part.to(device).requires_grad_() for part in whole.split((18, 9), dim=1)]
        for whole in planes
    ]
    results = []
    for function, kind in (
        (foreach_deform_conv_with_moments_by_triton, dtype),
        (_plain, torch.float32),
    ):
        tensors = [value.to(kind).requires_grad_() for value in exact[:6]]
        (x1, weight1, bias1, x2, weight2, bias2), (where1, where2) = tensors, wheres
        outputs, moments = function(
            [
                (x1, *where1, weight1, bias1, (1, 1), (1, 1), (2, 2)),
                (x2, *where2, weight2, bias2, (2, 2), (1, 1), (2, 2)),
            ],
            [(3, 5), (2, 3)],
        )
        grads = [value.to(kind) for value in exact[6:]]
        leaves = [*tensors, *where1, *where2]
        results.append([*outputs, *(moments or []), *torch.autograd.grad(outputs, leaves, grads)])
    return results[0], results[1]


def _plain(
    calls: Sequence[tuple[Any, ...]], level_sizes: Sequence[Size]
) -> tuple[list[Tensor], list[Tensor]]:
    """`foreach_deform_conv_with_moments_by_triton` in plain PyTorch."""
    outputs = [deform_conv_by_bags(*call) for call in calls]
    images = [output.detach().permute(0, 2, 3, 1) for output in outputs]
    return outputs, list(map(torch_branch_mix.channel_moments, images, level_sizes))


def deform_conv_by_triton(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:
    """Compute `modulated_deform_conv2d`: shapes checked, autocast off.

    Args:
        input, weight, bias: one dtype T; float64 is handed on to plain PyTorch.
        offset, mask: float32.
        stride, padding, dilation: (vertical, horizontal).

    Returns:
        (N, O, Y, X) of dtype T, laid out as channels_last.
    """
    call = (input, offset, mask, weight, bias, stride, padding, dilation)
    (output,) = foreach_deform_conv_by_triton([call])
    return output


def foreach_deform_conv_by_triton(calls: Sequence[tuple[Any, ...]]) -> list[Tensor]:
    """Compute `deform_conv_by_triton` of every element, as many in one launch as fit together."""
    if calls[0][0].dtype == torch.float64:
        return [deform_conv_by_bags(*call) for call in calls]
    outputs: dict[int, Tensor] = {}
    for indices in _alike(calls):
        together, _ = _run([calls[index] for index in indices])
        outputs.update(zip(indices, together, strict=True))
    return [outputs[index] for index in range(len(calls))]


def foreach_deform_conv_with_moments_by_triton(
    calls: Sequence[tuple[Any, ...]], level_sizes: Sequence[Size]
) -> tuple[list[Tensor], list[Tensor] | None]:
    """Compute `foreach_deform_conv_with_moments`: each tile is measured while it is in the cache.

    Args:
        calls: arguments of `deform_conv_by_triton`; for float64 there are no moments.
        level_sizes: for each call.
    """
    if calls[0][0].dtype == torch.float64:
        return foreach_deform_conv_by_triton(calls), None
    results: dict[int, tuple[Tensor, Tensor]] = {}
    for indices in _alike(calls):
        together = _run(
            [calls[index] for index in indices], [level_sizes[index] for index in indices]
        )
        results.update(zip(indices, zip(*together, strict=True), strict=True))
    outputs, moments = zip(*(results[index] for index in range(len(calls))), strict=True)
    return list(outputs), list(moments)


def _alike(calls: Sequence[tuple[Any, ...]]) -> list[list[int]]:
    """Which calls one launch can serve."""
    groups: dict[Any, list[int]] = {}
    for index, (input, _, _, weight, bias, _, padding, dilation) in enumerate(calls):
        key = input.shape[0], weight.shape, bias is None, padding, dilation
        groups.setdefault(key, []).append(index)
    return [
        group[start : start + MOST_RECORDS]
        for group in groups.values()
        for start in range(0, len(group), MOST_RECORDS)
    ]


def _run(
    calls: Sequence[tuple[Any, ...]], level_sizes: Sequence[Size] | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs of calls that one launch can serve; with levels' sizes, their moments."""
    input_of = _numbered(id(call[0]) for call in calls)
    kernel_of = _numbered((id(call[3]), id(call[4])) for call in calls)
    inputs = _each_once([call[0] for call in calls], input_of)
    weights = _each_once([call[3] for call in calls], kernel_of)
    biases = _each_once([call[4] for call in calls], kernel_of)
    # One kernel's convolutions follow each other: what it gets of their gradients is a sum of rows.
    order = sorted(range(len(calls)), key=kernel_of.__getitem__)
    offsets, masks = ([calls[index][field] for index in order] for field in (1, 2))
    layout = Layout(
        tuple(input_of[index] for index in order),
        tuple(kernel_of[index] for index in order),
        tuple(calls[index][5] for index in order),
        *calls[0][6:],
    )
    ordered_sizes = None if level_sizes is None else tuple(level_sizes[index] for index in order)
    moments, *images = _DeformConvsByTriton.apply(
        layout, ordered_sizes, *inputs, *weights, *biases, *offsets, *masks
    )
    places = [order.index(index) for index in range(len(calls))]
    outputs = [images[place].permute(0, 3, 1, 2) for place in places]
    return outputs, [] if moments is None else [moments[place] for place in places]


def _numbered(keys: Iterable[Hashable]) -> list[int]:
    """The same number for the same key, from 0 in order of appearance."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _each_once(tensors: Sequence[Any], numbers: Sequence[int]) -> list[Any]:
    """The tensor of each number."""
    return [tensor for _, tensor in sorted(dict(zip(numbers, tensors, strict=True)).items())]


class _DeformConvsByTriton(torch.autograd.Function):
    """Keeps for backward nothing but its inputs.

    Gives moments (convolutions, 3, N, O), None without levels' sizes, and outputs (N, Y, X, O).
    """

    @staticmethod
    def forward(
        ctx: Any, layout: Layout, level_sizes: tuple[Size, ...] | None, *tensors: Tensor
    ) -> tuple[Tensor | None, ...]:
        inputs, weights, biases, offsets, masks = layout.split(tensors)
        ctx.save_for_backward(*inputs, *weights, *offsets, *masks)
        ctx.layout = layout
        problems = Problems(layout, inputs, weights, offsets, masks)
        output, moments = _compute_outputs(problems, biases, level_sizes)
        if moments is not None:
            ctx.mark_non_differentiable(moments)
        return moments, *split_rows(output, problems.output_shapes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights, _, offsets, masks = ctx.layout.split(ctx.saved_tensors, has_biases=False)
        problems = Problems(ctx.layout, inputs, weights, offsets, masks)
        dtype = problems.table.dtype
        rows, _ = join_rows([grad.to(dtype).contiguous().flatten(0, 2) for grad in grads])
        needed = ctx.layout.split(ctx.needs_input_grad[2:])
        return None, None, *itertools.chain(*_gradients(problems, rows, needed))


def gradients_by_triton(
    grad_output: Tensor,
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Gradients of input, offset, mask, weight and bias; None where not needed."""
    problems = Problems(
        Layout((0,), (0,), (stride,), padding, dilation), [input], [weight], [offset], [mask]
    )
    need_input, need_offset, need_mask, need_weight, need_bias = ([need] for need in needed)
    rows = as_table(grad_output.to(input.dtype))
    by_kind = _gradients(
        problems, rows, (need_input, need_weight, need_bias, need_offset, need_mask)
    )
    (grad_input,), (grad_weight,), (grad_bias,), (grad_offset,), (grad_mask,) = by_kind
    return grad_input, grad_offset, grad_mask, grad_weight, grad_bias


def _compute_outputs(
    problems: Problems, biases: Sequence[Tensor | None], level_sizes: Sequence[Size] | None
) -> tuple[Tensor, Tensor | None]:
    """Outputs (P, O); with levels' sizes moments (convolutions, 3, N, O)."""
    from dyhead.ops.triton.deform_kernels import forward_kernel

    output = problems.table.new_empty(problems.positions, problems.outputs)
    tiles = forward_options(output.dtype, problems.channels, problems.outputs, problems.positions)
    out_blocks = _blocks(problems.outputs, tiles["BLOCK_O"])
    if level_sizes is None:
        grid: tuple[int, ...] = count_blocks(problems.lengths, tiles["BLOCK_P"]), out_blocks
        maps, partial = problems.records, problems.planes  # addresses of nothing
    else:
        blocks = count_blocks(problems.image_lengths, tiles["BLOCK_P"])
        grid = blocks, out_blocks, problems.images
        maps = _maps(problems, level_sizes)
        partial = problems.planes.new_empty(blocks, 3, problems.images, problems.outputs)
    given = [bias for bias in biases if bias is not None]
    if problems.positions:
        with torch.cuda.device_of(output):
            forward_kernel[grid](
                problems.records,
                problems.table,
                problems.planes,
                problems.kernels,
                torch.stack(given) if given else problems.kernels,
                output,
                maps,
                partial,
                HAS_BIAS=bool(given),
                HAS_MOMENTS=level_sizes is not None,
                PRECISION=precision(output.dtype),
                **problems.constants,
                **tiles,
            )
    return output, None if level_sizes is None else join_moments(maps, partial, tiles["BLOCK_P"])


def _maps(problems: Problems, level_sizes: Sequence[Size]) -> Tensor:
    """The records of the outputs as maps of levels."""
    sizes = [(height, width) for _, height, width, _ in problems.output_shapes]
    rows = tuple(map(map_record, sizes, level_sizes))
    return device_table(rows, problems.table)


def _gradients(
    problems: Problems, grad_rows: Tensor, needed: Sequence[Sequence[bool]]
) -> list[list[Tensor | None]]:
    """Gradients of inputs, weights, biases, offsets and masks; None where not needed."""
    need_inputs, need_weights, need_biases, need_offsets, need_masks = needed
    with torch.cuda.device_of(grad_rows):
        inputs, offsets, masks = _sample_gradients(
            problems, grad_rows, any(need_inputs), any(need_offsets) or any(need_masks)
        )
        weights = _weight_gradients(problems, grad_rows) if any(need_weights) else []
    biases = [
        rows.sum(0, dtype=torch.float32).to(grad_rows.dtype)
        for rows in (grad_rows.split(problems.positions_of_kernels) if any(need_biases) else [])
    ]
    found = (inputs, weights, biases, offsets, masks)
    return [
        [gradients[index] if need else None for index, need in enumerate(of_kind)]
        for gradients, of_kind in zip(found, needed, strict=True)
    ]


def _sample_gradients(
    problems: Problems, grad_rows: Tensor, need_inputs: bool, need_samples: bool
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Gradients of inputs, offsets and masks; nothing useful where not needed."""
    from dyhead.ops.triton.deform_kernels import backward_samples_kernel

    if not (need_inputs or need_samples):
        return [], [], []
    dtype, taps = problems.table.dtype, problems.taps
    shape = problems.table.shape if need_inputs else (1, 1)
    grad_table = grad_rows.new_zeros(shape, dtype=torch.float32)
    # Written whole where needed; the kernel needs an address also where not.
    grad_offset = problems.planes.new_empty(2 * taps * problems.positions)
    grad_mask = problems.planes.new_empty(taps * problems.positions)
    tiles = backward_samples_options(dtype, problems.channels, problems.outputs)
    if problems.positions:
        blocks = count_blocks(problems.lengths, tiles["BLOCK_P"])
        backward_samples_kernel[blocks, taps](
            problems.records,
            problems.table,
            problems.planes,
            problems.kernels,
            grad_rows,
            grad_table,
            grad_offset,
            grad_mask,
            NEED_TABLE=need_inputs,
            NEED_SAMPLES=need_samples,
            PRECISION=precision(dtype),
            **problems.constants,
            **tiles,
        )
    return (
        problems.as_inputs(grad_table.to(dtype)) if need_inputs else [],
        problems.as_planes(grad_offset, 2 * taps),
        problems.as_planes(grad_mask, taps),
    )


def _weight_gradients(problems: Problems, grad_rows: Tensor) -> list[Tensor]:
    """Gradients of the weights, laid out as channels_last."""
    from dyhead.ops.triton.deform_kernels import backward_kernels_kernel

    kernels = problems.kernels
    if not problems.positions:
        return list(torch.zeros_like(kernels).permute(0, 1, 4, 2, 3))
    tiles = backward_weight_options(kernels.dtype, problems.channels, problems.outputs)
    tap_blocks = problems.taps * _blocks(problems.channels, tiles["BLOCK_C"])
    out_blocks = _blocks(problems.outputs, tiles["BLOCK_O"])
    splits = _splits(problems, tap_blocks * out_blocks)
    parts, counts = problems.parts(tiles["BLOCK_P"], splits)
    partial = grad_rows.new_empty(len(parts), *kernels.shape[1:], dtype=torch.float32)
    backward_kernels_kernel[tap_blocks, out_blocks, len(parts)](
        problems.records,
        parts,
        problems.table,
        problems.planes,
        grad_rows,
        partial,
        PRECISION=precision(kernels.dtype),
        **problems.constants,
        **tiles,
    )
    sums = (of_kernel.sum(0) for of_kernel in partial.split(counts))
    return [total.to(kernels.dtype).permute(0, 3, 1, 2) for total in sums]


def _splits(problems: Problems, programs: int) -> int:
    """Into about how many parts the gradients of the weights cut the positions."""
    device, processors = problems.table.device, 4
    if device.type == "cuda":
        processors = torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(2 * processors // programs, problems.positions // MIN_SPAN))


def _blocks(length: int, block: int) -> int:
    return -(-length // block)
