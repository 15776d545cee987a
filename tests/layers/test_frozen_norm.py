"""A convolution with a folded norm makes the map of the two in a row."""

import pytest
import torch
from timm.layers import FrozenBatchNormAct2d
from torch import nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from dyhead.d2.layers import FrozenBatchNorm2d as HostNorm
from dyhead.layers.frozen_norm import fold_norm


@pytest.mark.parametrize("kind", [FrozenBatchNorm2d, FrozenBatchNormAct2d, HostNorm])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_map_is_that_of_the_two(kind: type, has_bias: bool, groups: int) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 6, 3, groups=groups, bias=has_bias).double()
    values = {
        "weight": torch.randn(6),
        "bias": torch.randn(6),
        "running_mean": torch.randn(6),
        "running_var": torch.rand(6) + 0.5,
    }
    norm = kind(6, eps=0.1)
    norm.load_state_dict(values)
    norm.double()
    if kind is FrozenBatchNormAct2d:
        norm.act = nn.Identity()
    image = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    weight, bias = fold_norm(convolution, norm)
    torch.testing.assert_close(
        F.conv2d(image, weight, bias, groups=groups), norm(convolution(image))
    )
