"""The fused block against the plain one, which is its specification."""

import contextlib
import weakref

import pytest
import torch
from small_blocks import PYRAMIDS, assert_same, make_block, make_levels, outputs_and_gradients
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from dyhead.layers import DyHeadBlock, fused_attention
from dyhead.ops import backends, branch_mix
from dyhead.ops.cpp import extension as cpp_extension

OPTIONS = [
    {},
    {"coarser_offsets": "crop"},
    {"coarser_offsets": "resize"},
    {"coarser_offsets": "upsample_features"},
    {"order": "scale_spatial_task"},
    {"hard_sigmoid": "paper"},
    {"bias": False},
    {"residual": True},
    {"scale_aware": False},
    {"spatial_aware": False},
    {"task_aware": False},
    {"scale_aware": False, "task_aware": False},
]


def make_blocks(channels=16, dtype=torch.float64, **options):
    """A fused and a plain block with the same parameters."""
    return (
        make_block(channels, dtype, **options),
        make_block(channels, dtype, fused=False, **options),
    )


def run(block, levels, function=None):
    """Outputs, and gradients of the levels and of all parameters."""
    function = block if function is None else function
    outputs, grads = outputs_and_gradients(function, levels, list(block.parameters()))
    return [*outputs, *grads]


@pytest.mark.parametrize("pyramid", PYRAMIDS)
def test_equals_the_plain_block(pyramid):
    fused, plain = make_blocks(channels=32)  # of which the norm has two in a group
    levels = make_levels(PYRAMIDS[pyramid], channels=32)
    assert_same(run(fused, levels), run(plain, levels), 1e-10)


@pytest.mark.parametrize("options", OPTIONS[1:], ids=str)
def test_every_option_equals_the_plain_block(options):
    fused, plain = make_blocks(**options)
    levels = make_levels([(5, 4), (3, 2), (2, 1)])
    assert_same(run(fused, levels), run(plain, levels), 1e-10)


@pytest.fixture(params=[True, False], ids=["extension", "plain"])
def extension(request, monkeypatch):
    """With the C++ extension where there is one, and in plain PyTorch."""
    if not request.param:
        monkeypatch.setattr(cpp_extension, "load", lambda: False)
        monkeypatch.setenv(backends.BACKEND_VARIABLE, "pytorch")


@pytest.mark.usefixtures("extension")
def test_float32():
    fused, plain = make_blocks(channels=32, dtype=torch.float32)
    levels = make_levels([(37, 51), (19, 26), (10, 13)], channels=32, dtype=torch.float32)
    expected = run(plain.double(), [level.double() for level in levels])
    assert_same(run(fused, levels), expected, 5e-6)


@pytest.mark.usefixtures("extension")
def test_float32_with_means_far_from_zero():
    """The convolutions' biases leave means of 100 deviations; plain float32 does no better."""
    fused, plain = make_blocks(channels=32, dtype=torch.float32)
    with torch.no_grad():
        for branch in (fused.spatial_attention.same, fused.spatial_attention.coarser):
            branch.bias += 100
    plain.load_state_dict(fused.state_dict())
    levels = make_levels([(17, 13), (9, 7)], channels=32, dtype=torch.float32)
    exact = plain.double()([level.double() for level in levels])
    assert_same(fused(levels), exact, 1e-4)


def test_autocast_keeps_its_type():
    fused, plain = make_blocks(channels=32, dtype=torch.float32)
    levels = make_levels([(17, 13), (9, 7), (5, 4)], channels=32, dtype=torch.float32)
    expected = plain(levels)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = run(fused, levels)
    assert {output.dtype for output in outputs[:3]} == {torch.bfloat16}
    assert {gradient.dtype for gradient in outputs[3:]} == {torch.float32}
    for output, exact in zip(outputs, expected, strict=False):
        assert (output - exact).abs().mean() < 0.02


def test_offsets_are_as_accurate_in_any_layout():
    """The channels_last convolution of oneDNN would err by 1e-5 and more here."""
    torch.manual_seed(0)
    spatial = DyHeadBlock(256, 256).spatial_attention
    torch.nn.init.normal_(spatial.offset_and_mask.weight, std=2.5 / 2304**0.5)
    level = torch.randn(1, 256, 19, 26)
    exact = (
        torch.nn.functional.conv2d(
            level.double(), spatial.offset_and_mask.weight.double(), padding=1
        )[:, :18]
        + spatial.offset_and_mask.bias[:18, None, None]
    )
    for memory_format in (torch.contiguous_format, torch.channels_last):
        offset, _ = spatial.offsets(level.contiguous(memory_format=memory_format))
        assert (offset - exact).abs().max() < 5e-6


def test_outputs_are_channels_last():
    fused, _ = make_blocks(dtype=torch.float32)
    for output in fused(make_levels(PYRAMIDS["even"], dtype=torch.float32)):
        assert output.is_contiguous(memory_format=torch.channels_last)


def test_outputs_that_nobody_uses():
    fused, plain = make_blocks()
    results = []
    for block in (fused, plain):
        leaves = [level.requires_grad_() for level in make_levels(PYRAMIDS["odd"])]
        loss = block(leaves)[1].square().sum()
        results.append(torch.autograd.grad(loss, leaves[:3]))
    assert_same(*results, 1e-10)


@pytest.mark.parametrize("trained", ["input", "scale_attention", "same.norm", "task_attention"])
def test_frozen_parts(trained):
    fused, plain = make_blocks()
    levels, plain_levels = make_levels(PYRAMIDS["odd"]), make_levels(PYRAMIDS["odd"])
    for name, parameter in fused.named_parameters():
        parameter.requires_grad_(trained in name)
    if trained == "input":
        levels[0].requires_grad_()
    plain_levels[0].requires_grad_()  # GroupNorm of torch 2.6 crashes when its input is frozen
    for block, features in ((fused, levels), (plain, plain_levels)):
        sum(output.square().sum() for output in block(features)).backward()
    leaves = [levels[0], *fused.parameters()]
    expected = [plain_levels[0], *plain.parameters()]
    assert any(leaf.requires_grad for leaf in leaves)
    for leaf, other in zip(leaves, expected, strict=True):
        if leaf.requires_grad:
            assert_same([leaf.grad], [other.grad], 1e-9)
        else:
            assert leaf.grad is None


@pytest.mark.parametrize("large_level", [0, 2**21])  # the finest level apart, or all together
def test_nothing_is_recorded_without_gradients(large_level, monkeypatch):
    monkeypatch.setattr(fused_attention, "LARGE_LEVEL", large_level)
    fused, plain = make_blocks()
    levels = make_levels(PYRAMIDS["odd"])
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            outputs = fused(levels)
            assert not any(output.requires_grad for output in outputs)
            assert_same(outputs, plain(levels), 1e-10)
    # What was kept from inference must serve training.
    assert_same(run(fused, levels), run(plain, levels), 1e-10)


def test_maps_of_a_large_level_are_let_go_before_the_others_are_convolved(monkeypatch):
    monkeypatch.setattr(fused_attention, "LARGE_LEVEL", 0)
    fused, _ = make_blocks()
    alive, spatial = weakref.WeakSet(), fused.spatial_attention
    convolve, parts = spatial.convolve, []

    def note(levels, indices, kernels):
        assert not alive
        convolved = convolve(levels, indices, kernels)
        if indices[0] == 0:
            alive.update(convolved.images[1:])  # the first one's memory is the output's
        parts.append(list(indices))
        return convolved

    monkeypatch.setattr(spatial, "convolve", note)
    with torch.no_grad():
        fused(make_levels(PYRAMIDS["odd"]))
    assert parts == [[0], [1, 2, 3, 4]]


@pytest.mark.usefixtures("extension")
def test_the_backward_pass_over_the_maps_records_no_graph(monkeypatch):
    fused, _ = make_blocks(dtype=torch.float32)
    mix_reductions, sums = branch_mix.mix_reductions, []

    def note(*arguments):
        sums.extend(mix_reductions(*arguments))
        return tuple(sums)

    monkeypatch.setattr(branch_mix, "mix_reductions", note)
    run(fused, make_levels(PYRAMIDS["odd"], dtype=torch.float32))
    assert sums
    assert not any(each.requires_grad for each in sums)


def test_backward_can_be_repeated():
    fused, _ = make_blocks()
    leaves = [level.requires_grad_() for level in make_levels(PYRAMIDS["even"])]
    loss = sum(output.square().sum() for output in fused(leaves))
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    assert_same(torch.autograd.grad(loss, leaves), first, 0)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_activation_checkpointing(use_reentrant):
    fused, plain = make_blocks()
    levels = make_levels(PYRAMIDS["odd"])

    def checkpointed(leaves):
        return checkpoint(
            lambda *leaves: tuple(fused(list(leaves))), *leaves, use_reentrant=use_reentrant
        )

    if use_reentrant:  # it gives gradients by backward() alone
        results = []
        for function in (checkpointed, plain):
            leaves = [level.clone().requires_grad_() for level in levels]
            sum(output.square().sum() for output in function(leaves)).backward()
            results.append([leaf.grad for leaf in leaves])
        assert_same(*results, 1e-10)
    else:
        actual = run(fused, levels, checkpointed)
        assert_same(actual, run(plain, levels), 1e-10)


@pytest.fixture
def compile_whole():
    torch.compiler.reset()
    yield lambda block: torch.compile(block, fullgraph=True, backend="aot_eager")
    torch.compiler.reset()


@pytest.mark.parametrize("options", [{"spatial_aware": False}, {}], ids=str)
def test_compiles_without_graph_breaks(options, compile_whole):
    fused, plain = make_blocks(**options)
    levels = make_levels(PYRAMIDS["two levels"])
    actual = run(fused, levels, compile_whole(fused))
    assert_same(actual, run(plain, levels), 1e-10)


def test_compiles_under_autocast(compile_whole):
    fused, _ = make_blocks(dtype=torch.float32)
    levels = make_levels(PYRAMIDS["two levels"], dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        outputs = compile_whole(fused)(levels)
        assert [output.dtype for output in outputs] == [torch.bfloat16] * 2
        assert_same(outputs, fused(levels), 0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_what_is_kept_for_backward(dtype, memory_format):
    """The levels, the convolutions' outputs, offsets and masks, once each."""
    channels, sizes = 64, [(40, 32), (20, 16), (10, 8)]
    fused, _ = make_blocks(channels, torch.float32)
    levels = make_levels(sizes, channels, batch=1, dtype=torch.float32)
    levels = [level.contiguous(memory_format=memory_format).requires_grad_() for level in levels]
    parameters = {p.untyped_storage().data_ptr() for p in fused.parameters()}
    storages = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage
        return tensor

    autocast = torch.autocast("cpu", dtype) if dtype != torch.float32 else contextlib.nullcontext()
    with saved_tensors_hooks(note, lambda tensor: tensor), autocast:
        outputs = fused(levels)
    assert all(output.dtype == dtype for output in outputs)
    kept = sum(storage.nbytes() for key, storage in storages.items() if key not in parameters)

    positions = [height * width for height, width in sizes]
    convolved = sum(positions) + 2 * sum(positions[1:])
    maps = (sum(positions) + convolved) * channels * dtype.itemsize + sum(positions) * 27 * 4
    # Kernels are cast once per block, whatever the number of levels and images.
    kernels = (3 * channels + 27) * channels * 9 * dtype.itemsize * (dtype != torch.float32)
    assert maps <= kept <= maps + kernels + 2**14


def test_kernels_are_packed_anew_for_every_forward_pass():
    fused, _ = make_blocks()
    fused.float()
    levels, spatial = [x.float() for x in make_levels(PYRAMIDS["odd"])], fused.spatial_attention
    with torch.no_grad():
        before = spatial.convolve(levels, [0], spatial.kernels(torch.float32)).images[0]
        spatial.same.weight.mul_(2)
        after = spatial.convolve(levels, [0], spatial.kernels(torch.float32)).images[0]
    bias = spatial.same.bias.view(-1, 1, 1)
    torch.testing.assert_close(after - bias, 2 * (before - bias), rtol=1e-4, atol=1e-5)
