"""The modulated deformable convolution in Triton, for CUDA: float32, float16 and bfloat16.

Sampling and matrix product are one kernel: a tile of columns is sampled into shared memory and
multiplied there, so that the columns, K times larger than the input, never reach device memory.
Backward makes the tiles again. Products accumulate in float32 whatever the dtype. Several
convolutions, as those of all levels and branches of a DyHead block, share their launches.

Triton is optional: without it, or where it does not work, `serves` says so and nothing raises.

Shape letters: as in `backends.arguments`; P output positions and R input pixels of all
convolutions.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dyhead.ops.backends import Backend, DeformConv, Gradients, Outputs, PackedKernels, Pair
from dyhead.ops.deform_conv import convolve
from dyhead.ops.pytorch.branch_mix import channel_moments
from dyhead.ops.pytorch.embedding_bag import PyTorchBackend
from dyhead.ops.triton.branch_mix import join_moments
from dyhead.ops.triton.descriptors import (
    MAX_DESCRIPTORS,
    count_tiles,
    device_descriptors,
    join_rows,
    split_rows,
)
from dyhead.ops.triton.grouped_convolutions import GroupedConvolutions, as_table
from dyhead.ops.triton.launch_options import (
    backward_samples_options,
    backward_weight_options,
    forward_options,
    precision,
)
from dyhead.ops.triton.pyramid import map_descriptor
from dyhead.ops.triton.self_check import is_installed, is_interpreted, passes_check, values

# Gradients of weights are summed over parts of the positions, each about so long at least, as many
# as fill the processors with two programs each; every part costs one more float32 copy of a weight.
MIN_SPAN = 256


class TritonBackend(Backend):
    """Triton's kernels; outputs are channels_last, parts of one storage."""

    name = "triton"
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    chosen_on = ("cuda",)

    def why_not(self, device: torch.device) -> str:
        """Say why Triton cannot serve a device; tries its kernels there, once."""
        if device.type != "cuda" and not (device.type == "cpu" and is_interpreted()):
            return (
                f"Triton needs a CUDA device, not {device.type} (or TRITON_INTERPRET=1, for tests)"
            )
        if not is_installed():
            return "Triton is not installed"
        if not serves(device):
            return "Triton's kernels fail their self-check on this device (see the log)"
        return ""

    def forward(self, convolutions: Sequence[DeformConv], packed: PackedKernels) -> list[Tensor]:
        """Compute the outputs, as many in one launch as fit together."""
        outputs, _ = _forward(self.backward_groups(convolutions), convolutions, None)
        return outputs

    def forward_with_moments(
        self, convolutions: Sequence[DeformConv], level_sizes: Sequence[Pair], packed: PackedKernels
    ) -> Outputs:
        """Compute outputs and moments: each tile is measured while it is in the cache."""
        return _forward(self.backward_groups(convolutions), convolutions, level_sizes)

    def gradients(
        self,
        grads: Sequence[Tensor],
        convolutions: Sequence[DeformConv],
        needed: Sequence[Sequence[bool]],
    ) -> list[Gradients]:
        """Compute the gradients of a group in two launches.

        That of an input or a kernel stands with the first convolution that has it.
        """
        group = GroupedConvolutions(convolutions)
        dtype = group.table.dtype
        rows, _ = join_rows([as_table(grads[index].to(dtype)) for index in group.order])
        need = [any(of_tensor) for of_tensor in zip(*needed, strict=True)]
        with torch.cuda.device_of(rows):
            inputs, offsets, masks = _sample_gradients(group, rows, need[0], need[1] or need[2])
            weights = _weight_gradients(group, rows) if need[3] else []
        biases = _bias_gradients(group, rows) if need[4] else []
        of_inputs, of_weights, of_biases = (
            dict(enumerate(gradients)) for gradients in (inputs, weights, biases)
        )
        found: list[Any] = [None] * len(convolutions)
        for place, index in enumerate(group.order):
            need_input, need_offset, need_mask, need_weight, need_bias = needed[index]
            kernel = group.kernel_of[place]
            found[index] = (
                of_inputs.pop(group.input_of[place], None) if need_input else None,
                offsets[place] if need_offset else None,
                masks[place] if need_mask else None,
                of_weights.pop(kernel, None) if need_weight else None,
                of_biases.pop(kernel, None) if need_bias else None,
            )
        return found

    def backward_groups(self, convolutions: Sequence[DeformConv]) -> list[list[int]]:
        """Group the convolutions that one launch can serve."""
        groups: dict[Any, list[int]] = {}
        biases_of: dict[int, list[int]] = {}
        for index, convolution in enumerate(convolutions):
            _, padding, dilation = convolution.pairs()
            # A group sums up one gradient of a bias for every weight.
            biases = biases_of.setdefault(id(convolution.weight), [])
            if id(convolution.bias) not in biases:
                biases.append(id(convolution.bias))
            which = biases.index(id(convolution.bias))
            shapes = len(convolution.input), convolution.weight.shape, convolution.bias is None
            groups.setdefault((*shapes, padding, dilation, which), []).append(index)
        return [
            group[start : start + MAX_DESCRIPTORS]
            for group in groups.values()
            for start in range(0, len(group), MAX_DESCRIPTORS)
        ]


def serves(device: torch.device) -> bool:
    """Tell if the kernels work on `device`; see `self_check.passes_check`."""
    return passes_check(device, _outcomes, "The deformable convolution uses torchvision")


def _outcomes(
    device: torch.device, dtype: torch.dtype
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Compute outputs and gradients of two convolutions in one launch, and in plain PyTorch."""
    exact = values(
        *((1, 18, 5, 7), (17, 18, 3, 3), (17,)),
        *((1, 18, 4, 6), (17, 18, 3, 3), (17,)),
        *((1, 17, 3, 5), (1, 17, 1, 2)),
    )
    exact = [value.to(device, dtype).float() for value in exact]
    offsets_and_masks = [
        [part.to(device).requires_grad_() for part in whole.split((18, 9), dim=1)]
        for whole in values((1, 27, 3, 5), (1, 27, 1, 2))
    ]
    sizes = [(3, 5), (2, 3)]
    results = []
    for backend, kind in ((TritonBackend(), dtype), (PyTorchBackend(), torch.float32)):
        tensors = [value.to(kind).requires_grad_() for value in exact[:6]]
        x1, weight1, bias1, x2, weight2, bias2 = tensors
        (offset1, mask1), (offset2, mask2) = offsets_and_masks
        first = DeformConv(x1, offset1, mask1, weight1, bias1, (1, 1), (1, 1), (2, 2))
        second = DeformConv(x2, offset2, mask2, weight2, bias2, (2, 2), (1, 1), (2, 2))
        outputs, moments = convolve(backend, [first, second], sizes)
        if moments is None:
            images = [output.detach().permute(0, 2, 3, 1) for output in outputs]
            moments = list(map(channel_moments, images, sizes))
        grads = [value.to(kind) for value in exact[6:]]
        gradients = torch.autograd.grad(outputs, [*tensors, offset1, mask1, offset2, mask2], grads)
        results.append([*outputs, *moments, *gradients])
    return results[0], results[1]


def _forward(
    groups: Sequence[Sequence[int]],
    convolutions: Sequence[DeformConv],
    level_sizes: Sequence[Pair] | None,
) -> Outputs:
    """Launch every group; with levels' sizes also measure the outputs."""
    outputs: dict[int, Tensor] = {}
    moments: dict[int, Tensor] = {}
    for indices in groups:
        group = GroupedConvolutions([convolutions[index] for index in indices])
        ordered = [indices[place] for place in group.order]
        sizes = None if level_sizes is None else [level_sizes[index] for index in ordered]
        table, measured = _compute_outputs(group, sizes)
        parts = split_rows(table, group.output_shapes, channels_first=True)
        outputs.update(zip(ordered, parts, strict=True))
        if measured is not None:
            moments.update(zip(ordered, measured, strict=True))
    in_order = range(len(convolutions))
    measured_all = None if level_sizes is None else [moments[index] for index in in_order]
    return [outputs[index] for index in in_order], measured_all


def _compute_outputs(
    group: GroupedConvolutions, level_sizes: Sequence[Pair] | None
) -> tuple[Tensor, Tensor | None]:
    """Compute outputs (P, O); with levels' sizes moments (convolutions, 3, N, O)."""
    from dyhead.ops.triton.deform_kernels import forward_kernel

    output = group.table.new_empty(group.positions, group.outputs)
    tiles = forward_options(output.dtype, group.channels, group.outputs, group.positions)
    out_blocks = _blocks(group.outputs, tiles["BLOCK_O"])
    if level_sizes is None:
        grid: tuple[int, ...] = count_tiles(group.lengths, tiles["BLOCK_P"]), out_blocks
        maps, partial = group.descriptors, group.planes  # addresses of nothing
    else:
        blocks = count_tiles(group.image_lengths, tiles["BLOCK_P"])
        grid = blocks, out_blocks, group.images
        maps = _maps(group, level_sizes)
        partial = group.planes.new_empty(blocks, 3, group.images, group.outputs)
    given = [bias for bias in group.biases if bias is not None]
    if group.positions:
        with torch.cuda.device_of(output):
            forward_kernel[grid](
                group.descriptors,
                group.table,
                group.planes,
                group.kernels,
                torch.stack(given) if given else group.kernels,
                output,
                maps,
                partial,
                HAS_BIAS=bool(given),
                HAS_MOMENTS=level_sizes is not None,
                PRECISION=precision(output.dtype),
                **group.constants,
                **tiles,
            )
    return output, None if level_sizes is None else join_moments(maps, partial, tiles["BLOCK_P"])


def _maps(group: GroupedConvolutions, level_sizes: Sequence[Pair]) -> Tensor:
    """Describe the outputs as maps of levels."""
    sizes = [(height, width) for _, height, width, _ in group.output_shapes]
    rows = tuple(map(map_descriptor, sizes, level_sizes))
    return device_descriptors(rows, group.table)


def _sample_gradients(
    group: GroupedConvolutions, grad_rows: Tensor, need_inputs: bool, need_samples: bool
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Compute the gradients of inputs, offsets and masks; nothing useful where not needed."""
    from dyhead.ops.triton.deform_kernels import backward_samples_kernel

    if not (need_inputs or need_samples):
        return [], [], []
    dtype, taps = group.table.dtype, group.taps
    shape = group.table.shape if need_inputs else (1, 1)
    grad_table = grad_rows.new_zeros(shape, dtype=torch.float32)
    # Written whole where needed; the kernel needs an address also where not.
    grad_offset = group.planes.new_empty(2 * taps * group.positions)
    grad_mask = group.planes.new_empty(taps * group.positions)
    tiles = backward_samples_options(dtype, group.channels, group.outputs)
    if group.positions:
        blocks = count_tiles(group.lengths, tiles["BLOCK_P"])
        backward_samples_kernel[blocks, taps](
            group.descriptors,
            group.table,
            group.planes,
            group.kernels,
            grad_rows,
            grad_table,
            grad_offset,
            grad_mask,
            NEED_TABLE=need_inputs,
            NEED_SAMPLES=need_samples,
            PRECISION=precision(dtype),
            **group.constants,
            **tiles,
        )
    return (
        group.as_inputs(grad_table.to(dtype)) if need_inputs else [],
        group.as_planes(grad_offset, 2 * taps),
        group.as_planes(grad_mask, taps),
    )


def _weight_gradients(group: GroupedConvolutions, grad_rows: Tensor) -> list[Tensor]:
    """Compute the gradients of the weights, laid out as channels_last."""
    from dyhead.ops.triton.deform_kernels import backward_kernels_kernel

    kernels = group.kernels
    if not group.positions:
        return list(torch.zeros_like(kernels).permute(0, 1, 4, 2, 3))
    tiles = backward_weight_options(kernels.dtype, group.channels, group.outputs)
    tap_blocks = group.taps * _blocks(group.channels, tiles["BLOCK_C"])
    out_blocks = _blocks(group.outputs, tiles["BLOCK_O"])
    splits = _splits(group, tap_blocks * out_blocks)
    parts, counts = group.parts(tiles["BLOCK_P"], splits)
    partial = grad_rows.new_empty(len(parts), *kernels.shape[1:], dtype=torch.float32)
    backward_kernels_kernel[tap_blocks, out_blocks, len(parts)](
        group.descriptors,
        parts,
        group.table,
        group.planes,
        grad_rows,
        partial,
        PRECISION=precision(kernels.dtype),
        **group.constants,
        **tiles,
    )
    sums = (of_kernel.sum(0) for of_kernel in partial.split(counts))
    return [total.to(kernels.dtype).permute(0, 3, 1, 2) for total in sums]


def _bias_gradients(group: GroupedConvolutions, grad_rows: Tensor) -> list[Tensor]:
    """Sum up the gradients of the biases, one for every kernel."""
    return [
        rows.sum(0, dtype=torch.float32).to(grad_rows.dtype)
        for rows in grad_rows.split(group.positions_of_kernels)
    ]


def _splits(group: GroupedConvolutions, programs: int) -> int:
    """Choose into about how many parts the gradients of the weights cut the positions."""
    device, processors = group.table.device, 4
    if device.type == "cuda":
        processors = torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(2 * processors // programs, group.positions // MIN_SPAN))


def _blocks(length: int, block: int) -> int:
    return -(-length // block)
