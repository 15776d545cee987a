"""The block against an independent naive double in float64, and the official module's code."""

import importlib.util
import os
import sys
import types
from pathlib import Path

import pytest
import small_blocks
import torch
import torch.nn.functional as F
from small_blocks import PYRAMIDS, assert_same, make_levels, outputs_and_gradients
from torchvision.ops import deform_conv2d

from dyhead.layers import BlockOptions, DyHeadBlock, DyHeadStack

BACKENDS = ("pytorch", "torchvision")


def make_block(channels=16, offset_spread=2.5, **options):
    """A float64 block whose offsets have a standard deviation of at least 2 pixels."""
    block = small_blocks.make_block(channels, **options)
    convolution = block.spatial_attention.offset_and_mask
    if convolution is not None:
        fan_in = convolution.weight[0].numel()
        torch.nn.init.normal_(convolution.weight, std=offset_spread / fan_in**0.5)
    return block


# --- The naive double: one sample, one position, one tap at a time, in scalar indexing. ----------


def naive_sample(image, y, x):
    """The channels of image (C, H, W) at y, x: each pixel within one pixel, by its share."""
    value = torch.zeros(len(image), dtype=image.dtype)
    for row in range(image.shape[1]):
        share_y = 1 - (y - row).abs()
        if share_y <= 0:
            continue
        for column in range(image.shape[2]):
            share_x = 1 - (x - column).abs()
            if share_x > 0:
                value = value + share_y * share_x * image[:, row, column]
    return value


def naive_convolution(image, offset_memory, mask_memory, branch):
    """Convolve an image (C, H, W); offset and mask are flat memory, indexed by output size."""
    stride = branch.stride
    height, width = (-(-length // stride) for length in image.shape[1:])
    positions = []
    for y in range(height):
        for x in range(width):
            total = 0 if branch.bias is None else branch.bias
            for tap in range(9):
                dy = offset_memory[((2 * tap) * height + y) * width + x]
                dx = offset_memory[((2 * tap + 1) * height + y) * width + x]
                sampled = naive_sample(
                    image, y * stride + tap // 3 - 1 + dy, x * stride + tap % 3 - 1 + dx
                )
                importance = mask_memory[(tap * height + y) * width + x]
                total = total + branch.weight[:, :, tap // 3, tap % 3] @ (sampled * importance)
            positions.append(total)
    return torch.stack(positions, dim=1).view(-1, height, width)


def naive_group_norm(image, norm):
    groups = image.view(16, -1)
    mean = groups.mean(1, keepdim=True)
    variance = (groups - mean).square().mean(1, keepdim=True)
    normal = ((groups - mean) / (variance + 1e-5).sqrt()).view_as(image)
    return normal * norm.weight[:, None, None] + norm.bias[:, None, None]


def naive_upsample(image, height, width):
    """Bilinear with aligned corners."""

    def positions(length, target):
        steps = torch.arange(target, dtype=torch.float64)
        return steps * (length - 1) / max(target - 1, 1)

    return torch.stack(
        [
            torch.stack(
                [naive_sample(image, y, x) for x in positions(image.shape[2], width)],
                dim=1,
            )
            for y in positions(image.shape[1], height)
        ],
        dim=1,
    )


def naive_resize(image, height, width):
    """Bilinear, cell on cell: the border's values go on beyond it."""

    def positions(length, target):
        centres = [(step + 0.5) * length / target - 0.5 for step in range(target)]
        return torch.tensor(centres, dtype=torch.float64).clamp(0, length - 1)

    ys, xs = positions(image.shape[1], height), positions(image.shape[2], width)
    rows = [torch.stack([naive_sample(image, y, x) for x in xs], dim=1) for y in ys]
    return torch.stack(rows, dim=1)


def naive_where(maps, options):
    """Offsets and masks of a level as maps (18, H, W) and (9, H, W)."""
    if not options.spatial_aware:
        return torch.zeros_like(maps[:18]), torch.ones_like(maps[18:])
    return maps[:18], maps[18:].sigmoid()


def naive_coarser_where(offset, mask, height, width, options):
    """Give offsets and masks as the coarser level's convolution finds them in memory."""
    if not options.spatial_aware or options.coarser_offsets == "flat_read":
        return offset.flatten(), mask.flatten()
    if options.coarser_offsets == "crop":
        return offset[:, :height, :width].flatten(), mask[:, :height, :width].flatten()
    scale_y, scale_x = height / offset.shape[1], width / offset.shape[2]
    scales = torch.tensor([scale_y, scale_x] * 9, dtype=torch.float64)[:, None, None]
    resized = naive_resize(offset, height, width) * scales
    return resized.flatten(), naive_resize(mask, height, width).flatten()


def naive_hard_sigmoid(x, options):
    if options.hard_sigmoid == "paper":
        return torch.where(x < -1, 0 * x, torch.where(x > 1, 0 * x + 1, x / 2 + 0.5))
    return ((x + 3) / 6).clamp(0, 1)


def naive_scale(block, feature, options):
    """The scalar that scale attention gives a feature (C, H, W)."""
    if not options.scale_aware:
        return 1
    score = block.scale_attention.score
    value = (score.weight.flatten() * feature.mean((1, 2))).sum() + score.bias
    return naive_hard_sigmoid(value.clamp(min=0), options)


def naive_level(block, images, index, options):
    """One level of one sample: images is a list of (C, H, W)."""
    scale_first = options.order == "scale_spatial_task"
    if scale_first:
        images = [image * naive_scale(block, image, options) for image in images]
    spatial = block.spatial_attention
    image = images[index]
    _, height, width = image.shape
    maps = image.new_zeros(27, height, width)
    if options.spatial_aware:
        maps = F.conv2d(
            image[None], spatial.offset_and_mask.weight, spatial.offset_and_mask.bias, padding=1
        )[0]
    offset, mask = naive_where(maps, options)

    def branch_output(source, branch, offset_memory, mask_memory):
        convolved = naive_convolution(source, offset_memory, mask_memory, branch)
        return naive_group_norm(convolved, branch.norm)

    own = offset.flatten(), mask.flatten()
    outputs = [branch_output(image, spatial.same, *own)]
    if index > 0:
        outputs.append(branch_output(images[index - 1], spatial.finer, *own))
    if index + 1 < len(images):
        coarser = images[index + 1]
        if options.coarser_offsets == "upsample_features":
            coarser = naive_upsample(coarser, height, width)
            outputs.append(branch_output(coarser, spatial.coarser, *own))
        else:
            where = naive_coarser_where(offset, mask, *coarser.shape[1:], options)
            coarse = branch_output(coarser, spatial.coarser, *where)
            outputs.append(naive_upsample(coarse, height, width))

    total = 0
    for output in outputs:
        total = total + output * (1 if scale_first else naive_scale(block, output, options))
    feature = total / len(outputs)
    if not options.task_aware:
        return feature.clamp(min=0)

    relu = block.task_attention
    hidden = (relu.squeeze.weight @ feature.mean((1, 2)) + relu.squeeze.bias).clamp(min=0)
    theta = naive_hard_sigmoid(relu.expand.weight @ hidden + relu.expand.bias, options)
    a1, b1, a2, b2 = (theta.view(4, -1) - 0.5)[..., None, None]
    first, second = feature * (2 * a1 + 1) + b1, feature * 2 * a2 + b2
    return torch.where(first > second, first, second)


def naive_block(block, levels, options=None):
    options = options or BlockOptions()
    samples = zip(*levels, strict=True)
    per_sample = [[naive_level(block, s, i, options) for i in range(len(s))] for s in samples]
    return [torch.stack(outputs) for outputs in zip(*per_sample, strict=True)]


# --- Comparisons ---------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("pyramid", "batch"), [("even", 1), ("odd", 3), ("one level", 2)])
def test_equals_the_naive_double_forward_and_backward(pyramid, batch, backend, monkeypatch):
    monkeypatch.setenv("DYHEAD_DEFORM_CONV", backend)
    block = make_block()
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
        {"scale_aware": False},
        {"spatial_aware": False},
        {"task_aware": False},
        {"scale_aware": False, "order": "scale_spatial_task"},
        {"spatial_aware": False, "coarser_offsets": "upsample_features"},
    ],
    ids=lambda options: "-".join(f"{key}={value}" for key, value in options.items()),
)
def test_every_option_equals_the_naive_double(options):
    block = make_block(**options)
    levels = make_levels([(5, 4), (3, 2), (2, 1)], batch=1)
    parameters = list(block.parameters())
    outputs, grads = outputs_and_gradients(block, levels, parameters)
    expected, expected_grads = outputs_and_gradients(
        lambda leaves: naive_block(block, leaves, BlockOptions(**options)), levels, parameters
    )
    assert_same(outputs, expected, 1e-8)
    assert_same(grads, expected_grads, 1e-8)
    plain = make_block()
    if set(dict(block.named_parameters())) == set(dict(plain.named_parameters())):
        plain.load_state_dict(block.state_dict())
        assert (plain(levels)[0] - outputs[0]).abs().max() > 1e-3, "the option changes something"


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
    block = make_block(channels=32)
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
    block = make_block(channels=32)
    levels = make_levels(PYRAMIDS["odd"], batch=3, channels=32)
    together = block(levels)
    alone = [block([level[i : i + 1] for level in levels]) for i in range(3)]
    assert_same(together, [torch.cat(parts) for parts in zip(*alone, strict=True)], 1e-12)


def test_empty_batch():
    outputs = DyHeadBlock(16, 16)([torch.randn(0, 16, 4, 4), torch.randn(0, 16, 2, 2)])
    assert [output.shape for output in outputs] == [(0, 16, 4, 4), (0, 16, 2, 2)]


def test_channels_last_input_changes_nothing():
    block = make_block()
    levels = make_levels(PYRAMIDS["even"])
    laid_out = [level.contiguous(memory_format=torch.channels_last) for level in levels]
    assert_same(block(laid_out), block(levels), 1e-12)


def test_levels_that_are_not_halved_are_refused():
    block = DyHeadBlock(16, 16)
    with pytest.raises(ValueError, match="level of 5 x 4 cannot follow one of 8 x 8"):
        block([torch.randn(1, 16, 8, 8), torch.randn(1, 16, 5, 4)])
    with pytest.raises(ValueError, match="Cannot read a 8 x 8 map from offsets of 4 x 4"):
        block([torch.randn(1, 16, 4, 4), torch.randn(1, 16, 8, 8)])


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


# --- The official module's own code, where a checkout is at hand ---------------------------------

OFFICIAL_NAMES = {
    "DyConv.0.conv": "spatial_attention.coarser",
    "DyConv.1.conv": "spatial_attention.same",
    "DyConv.2.conv": "spatial_attention.finer",
    "DyConv.0.bn": "spatial_attention.coarser.norm",
    "DyConv.1.bn": "spatial_attention.same.norm",
    "DyConv.2.bn": "spatial_attention.finer.norm",
    "AttnConv.1": "scale_attention.score",
    "offset": "spatial_attention.offset_and_mask",
    "relu.fc.0": "task_attention.squeeze",
    "relu.fc.2": "task_attention.expand",
}


class OfficialOperator(torch.nn.Module):
    """Stands in for the official CUDA operator: its parameters, its reading of the offsets."""

    def __init__(self, in_channels, out_channels, kernel_size, stride, padding):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = torch.nn.Parameter(torch.empty(out_channels))
        self.stride, self.padding = stride, padding

    def forward(self, input, offset, mask):
        height, width = ((length - 1) // self.stride + 1 for length in input.shape[2:])
        offset, mask = (
            maps.contiguous()
            .flatten(1)[:, : channels * height * width]
            .view(-1, channels, height, width)
            for maps, channels in ((offset, 18), (mask, 9))
        )
        return deform_conv2d(
            input, offset, self.weight, self.bias, self.stride, self.padding, mask=mask
        )


@pytest.fixture
def official_block(monkeypatch):
    """The official block's class, loaded from the checkout without compiling anything."""
    source = os.environ.get("DYNAMICHEAD_SOURCE")
    if not source:
        pytest.skip("set DYNAMICHEAD_SOURCE to a checkout of microsoft/DynamicHead")

    def load(name, **attributes):
        module = types.ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    load("official_dynamichead").__path__ = []
    load("official_dynamichead.deform", ModulatedDeformConv=OfficialOperator)
    load("detectron2").__path__ = []
    load("detectron2.modeling").__path__ = []
    load("detectron2.modeling.backbone", Backbone=torch.nn.Module)
    for name in ("dyrelu", "dyhead"):
        path = Path(source, "dyhead", f"{name}.py")
        spec = importlib.util.spec_from_file_location(f"official_dynamichead.{name}", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
    return module.DyConv


def renamed(official_key):
    """Our name of an official block's parameter."""
    prefix, _, kind = official_key.rpartition(".")
    return f"{OFFICIAL_NAMES[prefix]}.{kind}"


@pytest.mark.filterwarnings("ignore:.*upsample_bilinear.*")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("pyramid", ["even", "odd", "one level"])
def test_equals_the_official_module(official_block, pyramid, backend, monkeypatch):
    monkeypatch.setenv("DYHEAD_DEFORM_CONV", backend)
    block = make_block(channels=32)
    theirs = official_block(32, 32).double()
    ours = dict(block.named_parameters())
    names = [renamed(key) for key, _ in theirs.named_parameters()]
    assert sorted(names) == sorted(ours)
    theirs.load_state_dict({key: ours[renamed(key)] for key in theirs.state_dict()})

    levels = make_levels(PYRAMIDS[pyramid], channels=32)
    outputs, grads = outputs_and_gradients(block, levels, [ours[name] for name in names])
    expected, expected_grads = outputs_and_gradients(
        lambda leaves: list(theirs(dict(enumerate(leaves))).values()),
        levels,
        list(theirs.parameters()),
    )
    assert_same(outputs, expected, 1e-10)
    assert_same(grads, expected_grads, 1e-10)


@pytest.mark.filterwarnings("ignore:.*upsample_bilinear.*")
def test_equals_the_official_module_in_float32_at_full_width(official_block):
    """256 channels, five levels; differences are absolute."""
    torch.manual_seed(0)
    block = DyHeadBlock(256, 256)
    torch.nn.init.normal_(block.spatial_attention.offset_and_mask.weight, std=2.5 / 2304**0.5)
    theirs = official_block(256, 256)
    ours = dict(block.named_parameters())
    theirs.load_state_dict({key: ours[renamed(key)] for key in theirs.state_dict()})
    sizes = [(37, 51), (19, 26), (10, 13), (5, 7), (3, 4)]
    levels = [level.float() for level in make_levels(sizes, batch=1, channels=256)]
    offset, _ = block.spatial_attention.offsets(levels[0])
    assert offset.std() >= 2
    outputs, grads = outputs_and_gradients(block, levels, [])
    expected, expected_grads = outputs_and_gradients(
        lambda leaves: list(theirs(dict(enumerate(leaves))).values()), levels, []
    )
    worst = max((a - b).abs().max().item() for a, b in zip(outputs, expected, strict=True))
    worst_grad = max((a - b).abs().max().item() for a, b in zip(grads, expected_grads, strict=True))
    print(f"largest difference: forward {worst:.1e}, backward {worst_grad:.1e}")
    assert worst <= 1e-5
    assert worst_grad <= 1e-4
