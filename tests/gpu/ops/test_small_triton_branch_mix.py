"""Triton's passes of the fused block in many small cases, against plain PyTorch in float64."""

import contextlib
import math

import pytest
import torch
from compared_blocks import KERNELS
from gpu_cases import DEVICE, IS_REAL, normals
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint

from dyhead.layers import BlockOptions, DyHeadBlock
from dyhead.ops.pytorch.branch_mix import PyTorchPasses
from dyhead.ops.triton import branch_mix as triton_branch_mix
from dyhead.ops.triton import pyramid as triton_pyramid
from dyhead.ops.triton import self_check
from dyhead.ops.triton.descriptors import join_rows

# A tensor core, in the convolutions of a block, sums in its own order.
OF_BLOCK = 1e-4 if IS_REAL else 1e-5
TOLERANCES = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1e-2}
# Of every level its size and the sizes of its maps, None for one that it lacks.
PYRAMIDS = {
    "block": [
        ((6, 9), [None, (6, 9), (3, 5)]),
        ((3, 5), [(3, 5), (3, 5), (2, 3)]),
        ((2, 3), [(2, 3), (2, 3), None]),
    ],
    "two branches": [((7, 5), [(7, 5), (4, 3)]), ((5, 6), [(5, 6), (5, 6)])],
    "smaller one first": [((4, 3), [(1, 2), (4, 3)])],
    "one level": [((3, 4), [(3, 4)])],
    "one position": [((1, 1), [(1, 1), (1, 1)])],
}
BY_LEVEL, TRITON = PyTorchPasses(), triton_branch_mix.TritonPasses()


def make_arguments(pyramid, dtype, *, batch=2, channels=20):
    """Gradients of the outputs, maps, scales, dyrelu, moments and sizes."""
    normal = normals(0)
    sizes = [size for size, _ in pyramid]
    maps = [
        [own and normal(batch, *own, channels).to(dtype) for own in level] for _, level in pyramid
    ]
    grads = [normal(batch, *size, channels).to(dtype) for size in sizes]
    scales = normal(len(maps), len(maps[0]), batch, channels)
    dyrelu = normal(len(maps), 5, batch, channels)
    dyrelu[:, :, :1, 0] = 0  # equal functions share the gradient
    return grads, maps, scales, dyrelu, normal(3, *scales.shape), sizes


def in_float64(value):
    if isinstance(value, list):
        return [in_float64(item) for item in value]
    return value.double() if isinstance(value, torch.Tensor) else value


def flat(value):
    """All tensors and Nones of nested lists."""
    if isinstance(value, list | tuple):
        return [item for part in value for item in flat(part)]
    return [value]


def assert_close(ours, theirs, tolerance):
    ours, theirs = flat(ours), flat(theirs)
    assert len(ours) == len(theirs)
    for mine, expected in zip(ours, theirs, strict=True):
        if expected is None:
            assert mine is None
            continue
        assert mine.shape == expected.shape
        error = (mine.double() - expected).abs().max()
        assert error <= tolerance * expected.abs().max().clamp(min=1)


def without_missing(sums, maps):
    """Gradients of scales are of no meaning where there is no map: they must be zero."""
    for index, level in enumerate(maps):
        for slot, image in enumerate(level):
            assert image is not None or not sums[0][index, slot].any()
    return sums


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", PYRAMIDS)
def test_every_pass_equals_the_float64_double(name, dtype):
    arguments = make_arguments(PYRAMIDS[name], dtype)
    grads, maps, scales, dyrelu, moments, sizes = arguments
    grads64, maps64, scales64, dyrelu64, moments64, _ = map(in_float64, arguments)
    tolerance = TOLERANCES[dtype]

    measured = TRITON.channel_moments(maps, sizes)
    assert measured.dtype == torch.float32
    assert_close(measured, BY_LEVEL.channel_moments(maps64, sizes), 2e-6)

    outputs = TRITON.mix_forward(maps, scales, dyrelu, sizes)
    expected = BY_LEVEL.mix_forward(maps64, scales64, dyrelu64, sizes, overwrite=False)
    assert all(output.dtype == dtype for output in outputs)
    assert_close(outputs, expected, tolerance)

    sums = TRITON.mix_reductions(grads, maps, scales, dyrelu)
    expected_sums = BY_LEVEL.mix_reductions(grads64, maps64, scales64, dyrelu64)
    assert all(total.dtype == torch.float32 for total in sums)
    assert_close(without_missing(sums, maps), expected_sums, 2e-6)

    gradients = TRITON.mix_backward(grads, maps, scales, dyrelu, moments)
    expected_gradients = BY_LEVEL.mix_backward(grads64, maps64, scales64, dyrelu64, moments64)
    assert all(gradient is None or gradient.dtype == dtype for gradient in flat(gradients))
    assert_close(gradients, expected_gradients, tolerance)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    "own, size", [((6, 9), (6, 9)), ((3, 5), (6, 9)), ((4, 7), (7, 13)), ((1, 2), (4, 3))]
)
def test_moments_of_one_map(own, size, dtype):
    maps = make_arguments([(size, [own])], dtype, channels=33)[1]
    moments = TRITON.channel_moments(maps, [size])
    assert_close(moments, BY_LEVEL.channel_moments(in_float64(maps), [size]), 2e-6)


def test_variance_of_a_deviation_much_smaller_than_the_mean(monkeypatch):
    monkeypatch.setattr(triton_branch_mix, "TILE_VALUES", 64)
    monkeypatch.setattr(triton_branch_mix, "MAX_PARTS", 4)
    size = (20, 9)
    ((image,),) = make_arguments([(size, [size])], torch.float32, channels=5)[1]
    image = image * 0.01 + 300
    moments = TRITON.channel_moments([[image]], [size])
    expected = BY_LEVEL.channel_moments([[image.double()]], [size])
    torch.testing.assert_close(moments[0, 0, 1].double(), expected[0, 0, 1], rtol=5e-3, atol=0)


def every_pass(passes, grads, maps, scales, dyrelu, moments, sizes):
    return [
        passes.channel_moments(maps, sizes),
        passes.mix_forward(maps, scales, dyrelu, sizes, False),
        passes.mix_reductions(grads, maps, scales, dyrelu),
        passes.mix_backward(grads, maps, scales, dyrelu, moments),
    ]


def test_many_tiles_parts_and_channels(monkeypatch):
    monkeypatch.setattr(triton_branch_mix, "TILE_VALUES", 1024)
    monkeypatch.setattr(triton_branch_mix, "MAX_PARTS", 4)
    pyramid = [((4, 6), [None, (4, 6), (2, 3)]), ((2, 3), [(2, 3), (2, 3), None])]
    arguments = make_arguments(pyramid, torch.float32, batch=1, channels=300)
    ours = every_pass(TRITON, *arguments)
    assert_close(ours, every_pass(BY_LEVEL, *map(in_float64, arguments)), 5e-6)


def test_addresses_of_64_bits(monkeypatch):
    monkeypatch.setattr(triton_pyramid, "WIDE", 0)
    arguments = make_arguments(PYRAMIDS["block"], torch.float32)
    pyramid = triton_pyramid.Pyramid(arguments[1], arguments[-1])
    assert {pyramid.map_descriptors.dtype, pyramid.level_descriptors.dtype} == {torch.int64}
    ours = every_pass(TRITON, *arguments)
    assert_close(ours, every_pass(BY_LEVEL, *map(in_float64, arguments)), 5e-6)


def test_what_belongs_to_a_missing_map_is_neither_read_nor_written():
    grads, maps, scales, dyrelu, moments, sizes = make_arguments(PYRAMIDS["block"], torch.float32)
    scales[0, 0] = scales[2, 2] = math.nan
    moments[:, 0, 0] = moments[:, 2, 2] = math.nan
    for output in TRITON.mix_forward(maps, scales, dyrelu, sizes):
        assert output.isfinite().all()
    for gradient in flat(TRITON.mix_backward(grads, maps, scales, dyrelu, moments)):
        assert gradient is None or gradient.isfinite().all()
    grads[0][0, 0, 0] = math.inf
    grad_scales, _ = TRITON.mix_reductions(grads, maps, scales, dyrelu)
    assert not grad_scales[0, 0].any()
    assert not grad_scales[2, 2].any()


def test_what_the_kernels_do_not_take_goes_to_plain_pytorch():
    four = [((3, 4), [(3, 4)] * 4)]
    cases = [(four, torch.float32, 2), (four, torch.float64, 2), (four, torch.float32, 0)]
    for pyramid, dtype, batch in [*cases, ([((1, 1), [(1, 1)])] * 33, torch.float32, 1)]:
        arguments = make_arguments(pyramid, dtype, batch=batch)
        if dtype == torch.float64:
            arguments = [in_float64(value) for value in arguments]
        ours = every_pass(TRITON, *arguments)
        for mine, other in zip(flat(ours), flat(every_pass(BY_LEVEL, *arguments)), strict=True):
            assert torch.equal(mine, other)


def test_the_self_check_finds_wrong_sums(monkeypatch, caplog):
    self_check._passes.cache_clear()
    assert triton_branch_mix.serves(DEVICE)
    self_check._passes.cache_clear()
    genuine = TRITON.mix_reductions
    wrong = lambda _, *a: [1.1 * total for total in genuine(*a)]  # noqa: E731
    monkeypatch.setattr(triton_branch_mix.TritonPasses, "mix_reductions", wrong)
    assert not triton_branch_mix.serves(DEVICE)
    assert f"fused blocks use plain PyTorch instead of Triton on {DEVICE.type}" in caplog.text
    self_check._passes.cache_clear()


@pytest.mark.parametrize("coarser_offsets", ["crop", "resize"])
def test_a_block_takes_one_launch_of_every_kernel(
    coarser_offsets, note_launches, triton_everywhere, float32_convolutions
):
    """However many levels and branches it has, and with the plain block's results."""
    lists = [note_launches(module, names) for module, names in KERNELS.items()]
    passes_over_maps = note_launches("triton.moments_kernels", ["moments_kernel"])
    torch.manual_seed(0)
    block = DyHeadBlock(32, 32, BlockOptions(coarser_offsets=coarser_offsets)).to(DEVICE)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    plain = DyHeadBlock(32, 32, BlockOptions(coarser_offsets=coarser_offsets, fused=False))
    plain = plain.to(DEVICE, torch.float64)
    plain.load_state_dict(block.state_dict())
    levels = [normals(1)(1, 32, *size) for size in [(4, 7), (2, 4), (1, 2)]]

    leaves = [level.clone().requires_grad_() for level in levels]
    outputs = block(leaves)
    assert sum(map(len, lists)) == 3
    assert not passes_over_maps
    grads = torch.autograd.grad(outputs, [*leaves, *block.parameters()], outputs)
    assert [sorted(names) for names in lists] == [sorted(names) for names in KERNELS.values()]

    leaves = [level.double().requires_grad_() for level in levels]
    exact = plain(leaves)
    cotangents = [output.double() for output in outputs]
    exact_grads = torch.autograd.grad(exact, [*leaves, *plain.parameters()], cotangents)
    assert_close([*outputs, *grads], [*exact, *exact_grads], OF_BLOCK)


@pytest.mark.parametrize("context", ["save_on_cpu", "first use in a checkpoint"])
def test_a_block_in_activation_checkpointing(context, triton_everywhere):
    block = DyHeadBlock(16, 16).to(DEVICE)
    levels = [normals(1)(1, 16, *size) for size in [(5, 4), (3, 2)]]
    if context.startswith("first"):
        self_check._passes.cache_clear()

    def run(mode):
        leaves = [level.clone().requires_grad_() for level in levels]
        if "checkpoint" in mode:
            outputs = checkpoint(block, leaves, use_reentrant=False)
        else:
            with save_on_cpu() if mode else contextlib.nullcontext():
                outputs = block(leaves)
        return [*outputs, *torch.autograd.grad(outputs, leaves, outputs)]

    for ours, theirs in zip(run(context), run(""), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_blocks_hand_on_levels_that_need_no_copy(triton_everywhere):
    """Outputs of one block lie in memory as the next one reads them."""
    block = DyHeadBlock(16, 16).to(DEVICE)
    with torch.no_grad():
        outputs = block([normals(1)(2, 16, *size) for size in [(4, 3), (2, 2), (1, 1)]])
    rows = [output.permute(0, 2, 3, 1).flatten(0, 2) for output in outputs]
    table, first_rows = join_rows(rows)
    assert table.data_ptr() == rows[0].data_ptr()
    assert first_rows == [0, 24, 32]
