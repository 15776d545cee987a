"""The deformable bottleneck block against a double by grid sampling, and genuine Detectron2's."""

import pytest
import torch
import torch.nn.functional as F

from dyhead.d2.layers import FrozenBatchNorm2d
from dyhead.d2.modeling.backbone.resnet import BottleneckBlock
from dyhead.modeling.backbone import DeformBottleneckBlock

CASES = [
    {},
    {"deform_modulated": True},
    {"deform_modulated": True, "num_groups": 4, "stride": 2},
    {"deform_modulated": True, "deform_num_groups": 2, "stride": 2, "stride_in_1x1": True},
    {"num_groups": 2, "deform_num_groups": 4, "dilation": 2},
    {"deform_num_groups": 2, "num_groups": 8, "norm": ""},
]


def make_block(in_channels=6, out_channels=12, seed=0, **arguments):
    """A float64 block in evaluation mode whose parameters are all far from their first values."""
    torch.manual_seed(seed)
    block = DeformBottleneckBlock(in_channels, out_channels, bottleneck_channels=8, **arguments)
    block.double().eval()
    for tensor in block.state_dict().values():
        if tensor.is_floating_point() and tensor.dim() == 1:  # norms, variances stay positive
            tensor.add_(0.3 * torch.randn_like(tensor)).abs_()
    torch.nn.init.normal_(block.conv2_offset.weight, std=0.4)
    return block


def sample(x, rows, columns):
    """Bilinear values of (N, C, H, W) at (N, Y, X) positions in pixels, zero outside."""
    height, width = x.shape[2:]
    grid = torch.stack((columns / (width - 1) * 2 - 1, rows / (height - 1) * 2 - 1), dim=-1)
    return F.grid_sample(x, grid, padding_mode="zeros", align_corners=True)


def naive_deform_conv(x, offset, mask, weight, stride, dilation, num_groups, offset_groups):
    """Tap by tap and group by group."""
    size = offset.shape[2:]
    rows, columns = torch.meshgrid(
        torch.arange(size[0], dtype=x.dtype), torch.arange(size[1], dtype=x.dtype), indexing="ij"
    )
    output = 0
    for tap in range(9):
        sampled = []
        for group, channels in enumerate(x.chunk(offset_groups, dim=1)):
            dy, dx = offset[:, 18 * group + 2 * tap], offset[:, 18 * group + 2 * tap + 1]
            row = rows * stride + dilation * (tap // 3 - 1) + dy
            column = columns * stride + dilation * (tap % 3 - 1) + dx
            sampled.append(sample(channels, row, column) * mask[:, 9 * group + tap, None])
        kernel = weight[:, :, tap // 3, tap % 3, None, None]
        output = output + F.conv2d(torch.cat(sampled, 1), kernel, groups=num_groups)
    return output


def naive_block(block, x):
    """The whole block by functions, in evaluation mode."""
    conv2, offset_groups = block.conv2, block.conv2_offset.out_channels // 9
    offset_groups //= 3 if block.deform_modulated else 2
    out = block.conv1(x).relu()
    learned = F.conv2d(
        out,
        block.conv2_offset.weight,
        block.conv2_offset.bias,
        block.conv2_offset.stride,
        block.conv2_offset.padding,
        block.conv2_offset.dilation,
    )
    offset = learned[:, : 18 * offset_groups]
    mask = torch.ones_like(learned[:, : 9 * offset_groups])
    if block.deform_modulated:
        mask = 1 / (1 + torch.exp(-learned[:, 18 * offset_groups :]))
    num_groups = out.shape[1] // conv2.weight.shape[1]
    stride, dilation = block.conv2_offset.stride[0], block.conv2_offset.dilation[0]
    out = naive_deform_conv(
        out, offset, mask, conv2.weight, stride, dilation, num_groups, offset_groups
    )
    out = (out if conv2.norm is None else conv2.norm(out)).relu()
    return (block.conv3(out) + (x if block.shortcut is None else block.shortcut(x))).relu()


@pytest.mark.parametrize("arguments", CASES, ids=str)
def test_equals_the_double_forward_and_backward(arguments):
    block = make_block(**arguments)
    x = torch.randn(2, 6, 9, 7, dtype=torch.float64, requires_grad=True)
    parameters = [x, *block.parameters()]
    results = []
    for function in (block, lambda x: naive_block(block, x)):
        output = function(x)
        cotangent = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view_as(output)
        results.append([output, *torch.autograd.grad((output * cotangent).sum(), parameters)])
    for actual, expected in zip(*results, strict=True):
        assert expected.any()
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("in_channels", [6, 12])
def test_keys_and_shapes_are_detectron2s(in_channels):
    block = DeformBottleneckBlock(
        in_channels, 12, bottleneck_channels=8, deform_modulated=True, deform_num_groups=2, norm=""
    )
    shapes = {"shortcut.weight": (12, 6, 1, 1)} if in_channels == 6 else {}
    shapes |= {
        "conv1.weight": (8, in_channels, 1, 1),
        "conv2_offset.weight": (54, 8, 3, 3),
        "conv2_offset.bias": (54,),
        "conv2.weight": (8, 8, 3, 3),
        "conv3.weight": (12, 8, 1, 1),
    }
    assert {key: value.shape for key, value in block.state_dict().items()} == shapes
    assert list(block.state_dict()) == list(shapes)


@pytest.mark.parametrize("arguments", CASES, ids=str)
def test_keys_and_shapes_are_those_of_the_genuine_block(arguments, genuine):
    blocks = [
        block_class(16, 32, bottleneck_channels=8, **arguments)
        for block_class in (DeformBottleneckBlock, genuine.DeformBottleneckBlock)
    ]
    ours, theirs = ([(k, v.shape) for k, v in block.state_dict().items()] for block in blocks)
    assert ours == theirs
    names = [[name for name, _ in block.named_parameters()] for block in blocks]
    assert names[0] == names[1]
    for block in blocks:
        assert not block.conv2_offset.weight.any()
        assert not block.conv2_offset.bias.any()


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("num_groups", [1, 4])
def test_starts_as_the_ordinary_block(modulated, num_groups):
    arguments = {"bottleneck_channels": 8, "stride": 2, "num_groups": num_groups, "norm": ""}
    block = DeformBottleneckBlock(6, 12, deform_modulated=modulated, **arguments)
    ordinary = BottleneckBlock(6, 12, **arguments)
    weights = {key: value for key, value in block.state_dict().items() if "offset" not in key}
    weights["conv2.weight"] = weights["conv2.weight"] * (0.5 if modulated else 1)
    ordinary.load_state_dict(weights)
    x = torch.randn(2, 6, 10, 8)
    torch.testing.assert_close(block(x), ordinary(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_groups", [1, 4])
def test_computes_under_autocast(num_groups):
    block = make_block(num_groups=num_groups, deform_modulated=True).float()
    x = torch.randn(1, 6, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        output = block(x)
    output.float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in block.parameters())
    expected = block(x)
    assert (output - expected).abs().max() < 0.1 * expected.abs().max()


def test_freezing_leaves_nothing_to_train():
    block = make_block().train().freeze()
    assert not any(parameter.requires_grad for parameter in block.parameters())
    assert isinstance(block.conv2.norm, FrozenBatchNorm2d)
