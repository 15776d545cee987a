"""The block against an independent naive double in float64, and its properties."""

import pytest
import torch
from block_double import naive_block
from small_blocks import (
    PYRAMIDS,
    assert_same,
    make_far_reaching_block,
    make_levels,
    outputs_and_gradients,
)
from torch.autograd.graph import saved_tensors_hooks

from dyhead.layers import BlockOptions, DyHeadBlock, DyHeadStack

BACKENDS = ("pytorch", "torchvision")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("pyramid", "batch"), [("even", 1), ("odd", 3), ("one level", 2)])
def test_equals_the_naive_double_forward_and_backward(pyramid, batch, backend, monkeypatch):
    monkeypatch.setenv("DYHEAD_DEFORM_CONV", backend)
    block = make_far_reaching_block()
    levels = make_levels(PYRAMIDS[pyramid], batch=batch)
    offset, _ = block.spatial_attention.offsets(levels[0])
    assert offset.std() >= 2
    parameters = list(block.parameters())
    outputs, grads = outputs_and_gradients(block, levels, parameters)
    expected, expected_grads = outputs_and_gradients(
        lambda leaves: naive_block(block, leaves), levels, parameters
    )
    assert_same(outputs, expected, 1e-8)
    assert_same(grads, expected_grads, 1e-8)


@pytest.mark.parametrize(
    "options",
    [
        {"coarser_offsets": "crop"},
        {"coarser_offsets": "resize"},
        {"coarser_offsets": "upsample_features"},
        {"order": "scale_spatial_task", "coarser_offsets": "crop"},
        {"hard_sigmoid": "paper"},
        {"bias": False},
        {"residual": True},
        {"scale_aware": False},
        {"spatial_aware": False},
        {"task_aware": False},
        {"scale_aware": False, "order": "scale_spatial_task"},
        {"spatial_aware": False, "coarser_offsets": "upsample_features"},
    ],
    ids=lambda options: "-".join(f"{key}={value}" for key, value in options.items()),
)
def test_every_option_equals_the_naive_double(options):
    block = make_far_reaching_block(**options)
    levels = make_levels([(5, 4), (3, 2), (2, 1)], batch=1)
    parameters = list(block.parameters())
    outputs, grads = outputs_and_gradients(block, levels, parameters)
    expected, expected_grads = outputs_and_gradients(
        lambda leaves: naive_block(block, leaves, BlockOptions(**options)), levels, parameters
    )
    assert_same(outputs, expected, 1e-8)
    assert_same(grads, expected_grads, 1e-8)
    plain = make_far_reaching_block()
    if set(dict(block.named_parameters())) == set(dict(plain.named_parameters())):
        plain.load_state_dict(block.state_dict())
        assert (plain(levels)[0] - outputs[0]).abs().max() > 1e-3, "the option changes something"


def test_a_block_that_changes_the_channels_adds_no_input():
    torch.manual_seed(0)
    block = DyHeadBlock(16, 32, BlockOptions(residual=True)).double()
    plain = DyHeadBlock(16, 32).double()
    plain.load_state_dict(block.state_dict())
    levels = make_levels([(5, 4), (3, 2)])
    assert_same(block(levels), plain(levels), 0)


def test_zero_initialisation_starts_from_a_regular_grid():
    torch.manual_seed(0)
    block = DyHeadBlock(16, 16, BlockOptions(offset_init="zero"))
    offset, mask = block.spatial_attention.offsets(torch.randn(2, 16, 5, 4))
    assert not offset.any()
    assert (mask == 0.5).all()
    offset, _ = DyHeadBlock(16, 16).spatial_attention.offsets(torch.randn(2, 16, 5, 4))
    assert offset.std() > 0.1


@pytest.mark.parametrize("field", ["order", "coarser_offsets", "hard_sigmoid", "offset_init"])
def test_unknown_choices_are_answered_with_the_known_ones(field):
    with pytest.raises(ValueError, match=rf"MODEL.DYHEAD.{field.upper()} 'best' is unknown: use"):
        BlockOptions(**{field: "best"})


@pytest.mark.parametrize("pyramid", PYRAMIDS)
def test_both_back_ends_agree(pyramid, monkeypatch):
    block = make_far_reaching_block(channels=32)
    levels = make_levels(PYRAMIDS[pyramid], channels=32)
    results = []
    for backend in BACKENDS:
        monkeypatch.setenv("DYHEAD_DEFORM_CONV", backend)
        results.append(outputs_and_gradients(block, levels, list(block.parameters())))
    (outputs, grads), (expected, expected_grads) = results
    assert_same(outputs, expected, 1e-10)
    assert_same(grads, expected_grads, 1e-10)


def test_has_the_official_number_of_parameters():
    block = DyHeadBlock(256, 256)
    assert sum(parameter.numel() for parameter in block.parameters()) == 1_917_276
    without_bias = DyHeadBlock(256, 256, BlockOptions(bias=False))
    assert sum(parameter.numel() for parameter in without_bias.parameters()) == 1_916_508


def test_names_and_order_of_the_levels_are_kept():
    block = DyHeadBlock(16, 32)
    levels = [level.float() for level in make_levels(PYRAMIDS["even"])]
    by_name = block(dict(zip(("p3", "p4", "p5"), levels, strict=True)))
    assert list(by_name) == ["p3", "p4", "p5"]
    for output, expected, level in zip(by_name.values(), block(levels), levels, strict=True):
        assert output.equal(expected)
        assert output.shape == (2, 32, *level.shape[2:])


def test_samples_of_a_batch_are_independent():
    block = make_far_reaching_block(channels=32)
    levels = make_levels(PYRAMIDS["odd"], batch=3, channels=32)
    together = block(levels)
    alone = [block([level[i : i + 1] for level in levels]) for i in range(3)]
    assert_same(together, [torch.cat(parts) for parts in zip(*alone, strict=True)], 1e-12)


def test_empty_batch():
    outputs = DyHeadBlock(16, 16)([torch.randn(0, 16, 4, 4), torch.randn(0, 16, 2, 2)])
    assert [output.shape for output in outputs] == [(0, 16, 4, 4), (0, 16, 2, 2)]


def test_channels_last_input_changes_nothing():
    block = make_far_reaching_block()
    levels = make_levels(PYRAMIDS["even"])
    laid_out = [level.contiguous(memory_format=torch.channels_last) for level in levels]
    assert_same(block(laid_out), block(levels), 1e-12)


def test_levels_that_are_not_halved_are_refused():
    block = DyHeadBlock(16, 16)
    with pytest.raises(ValueError, match="level of 5 x 4 cannot follow one of 8 x 8"):
        block([torch.randn(1, 16, 8, 8), torch.randn(1, 16, 5, 4)])
    with pytest.raises(ValueError, match="level of 8 x 8 cannot follow one of 4 x 4"):
        block([torch.randn(1, 16, 4, 4), torch.randn(1, 16, 8, 8)])


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (torch.rand(2, 16, 4, 4), r"one tensor \(2, 16, 4, 4\): give \[tensor\]"),
        ([torch.rand(16, 4, 4)], r"\(N, C, H, W\), got \(16, 4, 4\)"),
        ([], "got none"),
        ({}, "got none"),
    ],
    ids=["a tensor", "an image without a batch", "nothing", "an empty dict"],
)
def test_what_is_no_list_of_levels_is_refused(levels, message):
    with pytest.raises(ValueError, match=message):
        DyHeadBlock(16, 16)(levels)


@pytest.mark.parametrize("fused", [True, False])
def test_weights_may_be_given_from_outside(fused):
    block = make_far_reaching_block(fused=fused)
    levels = make_levels(PYRAMIDS["even"])
    weights = {name: value.detach() for name, value in block.named_parameters()}
    given = torch.func.functional_call(block, weights, (levels,))
    assert_same(given, block(levels), 0)


def test_channels_that_do_not_suit_the_norm_are_refused():
    with pytest.raises(ValueError, match="multiple of 16, got 100.*MODEL.DYHEAD.CHANNELS"):
        DyHeadBlock(256, 100)


def test_stack_runs_its_blocks_in_order():
    stack = DyHeadStack(32, 16, num_blocks=2)
    levels = {"p3": torch.randn(1, 32, 4, 6), "p4": torch.randn(1, 32, 2, 3)}
    expected = stack[1](stack[0](levels))
    for name, output in stack(levels).items():
        assert output.equal(expected[name])
    assert stack.out_channels == 16


def test_stack_that_recomputes_keeps_little_for_backward():
    stacks = [DyHeadStack(16, 16, 2, recompute=again).double() for again in (False, True)]
    stacks[1].load_state_dict(stacks[0].state_dict())
    kept, results = [0, 0], []
    for number, stack in enumerate(stacks):

        def count(tensor, number=number):
            kept[number] += tensor.nbytes
            return tensor

        def forward(levels, stack=stack, count=count):
            with saved_tensors_hooks(count, lambda tensor: tensor):
                return stack(levels)

        parameters = list(stack.parameters())
        results.append(outputs_and_gradients(forward, make_levels(PYRAMIDS["even"]), parameters))
    for ours, expected in zip(*results, strict=True):
        assert_same(ours, expected, 1e-10)
    assert kept[1] < 0.2 * kept[0]


def test_stack_without_blocks_hands_its_features_through():
    stack = DyHeadStack(32, 16, num_blocks=0)
    levels = {"p3": torch.randn(1, 32, 4, 6)}
    assert stack(levels)["p3"] is levels["p3"]
    assert stack.out_channels == 32


def test_stack_without_attentions_hands_its_features_through():
    off = BlockOptions(scale_aware=False, spatial_aware=False, task_aware=False)
    stack = DyHeadStack(32, 16, num_blocks=6, options=off)
    assert len(stack) == 0
    assert stack.out_channels == 32


def test_stack_refuses_a_negative_number_of_blocks():
    with pytest.raises(ValueError, match="MODEL.DYHEAD.NUM_CONVS"):
        DyHeadStack(32, 16, num_blocks=-1)
