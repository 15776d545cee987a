"""Convolutions padded as TensorFlow does, in eager mode and in exports for any size."""

import copy

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.export import Dim, export

from dyhead.modeling.backbone.same_padding import SameConv2d, make_exportable

SIZES = [(33, 48), (34, 47), (35, 64), (36, 65), (64, 36)]


def make_convolution(kernel: int, stride: int, dilation: int) -> Conv2dSame:
    torch.manual_seed(0)
    return Conv2dSame(2, 3, kernel, stride, dilation=dilation).double()


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [(3, 2, 1), (5, 2, 1), (4, 2, 1), (3, 1, 1), (3, 1, 2), (1, 2, 1), (7, 4, 1), (2, 3, 1)],
)
def test_one_export_is_timms_convolution_at_any_size(
    kernel: int, stride: int, dilation: int
) -> None:
    convolution = nn.Sequential(make_convolution(kernel, stride, dilation))
    expected = [convolution(example(*size)) for size in SIZES]
    make_exportable(convolution)
    assert type(convolution[0]) is SameConv2d
    sizes = {2: Dim("height", min=16, max=512), 3: Dim("width", min=16, max=512)}
    exported = export(convolution, (example(40, 57),), dynamic_shapes=(sizes,), strict=False)
    for size, maps in zip(SIZES, expected, strict=True):
        torch.testing.assert_close(exported.module()(example(*size)), maps)
        assert torch.equal(convolution(example(*size)), maps)


def example(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randn(1, 2, height, width, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (1, 2), (4, 3)])
def test_gradients_are_timms_and_no_copy_of_those_behind(kernel: int, stride: int) -> None:
    theirs = make_convolution(kernel, stride, 1)
    ours = nn.Sequential(copy.deepcopy(theirs))
    make_exportable(ours)
    maps = example(33, 48).requires_grad_()
    expected = theirs(maps)
    output = ours(maps)
    assert torch.equal(output, expected)
    weights = [theirs.weight, theirs.bias], [ours[0].weight, ours[0].bias]
    target = torch.randn_like(output)
    for one, other in zip(
        torch.autograd.grad(expected, [maps, *weights[0]], target),
        torch.autograd.grad(output, [maps, *weights[1]], target),
        strict=True,
    ):
        assert torch.equal(one, other)
    padded = ours[0].pad(maps)
    behind = torch.ones_like(padded)
    (gradient,) = torch.autograd.grad(padded, maps, behind)
    assert gradient.shape == maps.shape
    assert gradient.untyped_storage().data_ptr() == behind.untyped_storage().data_ptr()
    assert torch.autograd.gradgradcheck(ours, example(9, 8).requires_grad_())


def test_sizes_behind_many_convolutions_stay_short_expressions() -> None:
    convolutions = nn.Sequential(*(Conv2dSame(1, 1, 3, 2) for _ in range(6)))
    make_exportable(convolutions)
    sizes = {2: Dim("height", min=128, max=4096)}
    exported = export(
        convolutions, (torch.zeros(1, 1, 200, 256),), dynamic_shapes=(sizes,), strict=False
    )
    (output,) = list(exported.graph.nodes)[-1].args[0]
    assert len(str(output.meta["val"].shape[2])) < 30
