"""Deformable convolutions as layers of the embedded host, against torchvision's operator."""

import pytest
import torch
from embedded_host.layers import DeformConv, ModulatedDeformConv
from torch import nn
from torchvision.ops import deform_conv2d

GROUPS = [(1, 1), (2, 1), (1, 2), (2, 4)]


def inputs(deformable_groups, requires_grad=False):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 9, 11, generator=generator, requires_grad=requires_grad)
    offset = torch.randn(2, 18 * deformable_groups, 5, 6, generator=generator)
    mask = torch.rand(2, 9 * deformable_groups, 5, 6, generator=generator)
    return x, offset, mask


def geometry(groups, deformable_groups):
    options = {"stride": 2, "padding": 2, "dilation": 2}
    return {**options, "groups": groups, "deformable_groups": deformable_groups}


@pytest.mark.parametrize(("groups", "deformable_groups"), GROUPS)
def test_modulated_is_torchvisions_for_any_groups(groups, deformable_groups):
    conv = ModulatedDeformConv(8, 4, 3, **geometry(groups, deformable_groups))
    nn.init.normal_(conv.bias)
    x, offset, mask = inputs(deformable_groups, requires_grad=True)
    expected = deform_conv2d(x, offset, conv.weight, conv.bias, 2, 2, 2, mask)
    output = conv(x, offset, mask)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)
    gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in (output, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("groups", "deformable_groups"), GROUPS)
def test_without_masks_every_tap_counts_whole(groups, deformable_groups):
    conv = DeformConv(8, 4, (3, 3), **geometry(groups, deformable_groups))
    x, offset, _ = inputs(deformable_groups)
    expected = deform_conv2d(x, offset, conv.weight, None, 2, 2, 2)
    torch.testing.assert_close(conv(x, offset), expected, rtol=1e-4, atol=1e-4)


def test_norm_and_activation_follow():
    conv = ModulatedDeformConv(
        8, 4, 3, stride=2, padding=2, dilation=2, norm=nn.GroupNorm(2, 4), activation=torch.relu
    )
    plain = ModulatedDeformConv(8, 4, 3, stride=2, padding=2, dilation=2)
    plain.load_state_dict(conv.state_dict(), strict=False)
    x, offset, mask = inputs(1)
    expected = torch.relu(conv.norm(plain(x, offset, mask)))
    torch.testing.assert_close(conv(x, offset, mask), expected)
    assert set(conv.state_dict()) == {"weight", "bias", "norm.weight", "norm.bias"}


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="DeformConv has no bias"):
        DeformConv(8, 4, 3, bias=True)
    with pytest.raises(ValueError, match=r"groups=3.*8 to 4"):
        ModulatedDeformConv(8, 4, 3, groups=3)
    with pytest.raises(ValueError, match="deformable_groups=5"):
        DeformConv(8, 4, 3, deformable_groups=5)
