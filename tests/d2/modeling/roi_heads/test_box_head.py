"""The box head against its layers one by one."""

import torch
from torch import nn
from torch.nn import functional as F

from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.box_regression import Box2BoxTransform
from dyhead.d2.modeling.roi_heads import FastRCNNConvFCHead, FastRCNNOutputLayers


def test_box_head():
    head = FastRCNNConvFCHead(
        ShapeSpec(channels=4, height=3, width=5), conv_dims=[32], fc_dims=[7, 6], conv_norm="GN"
    )
    assert [name for name, _ in head.named_children() if "relu" not in name] == [
        "conv1",
        "flatten",
        "fc1",
        "fc2",
    ]
    assert head.conv1.bias is None and isinstance(head.conv1.norm, nn.GroupNorm)
    assert head.output_shape == ShapeSpec(channels=6)
    x = torch.randn(3, 4, 3, 5)
    hidden = F.relu(head.conv1.norm(F.conv2d(x, head.conv1.weight, padding=1))).flatten(1)
    expected = F.relu(head.fc2(F.relu(head.fc1(hidden))))
    torch.testing.assert_close(head(x), expected)
    assert head(x[:0]).shape == (0, 6)


def test_box_head_of_convolutions():
    head = FastRCNNConvFCHead(
        ShapeSpec(channels=4, height=3, width=5), conv_dims=[6, 7], fc_dims=[]
    )
    assert head.output_shape == ShapeSpec(channels=7, height=3, width=5)
    assert head(torch.rand(2, 4, 3, 5)).shape == (2, 7, 3, 5)
    layers = FastRCNNOutputLayers(
        head.output_shape, box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)), num_classes=2
    )
    scores, deltas = layers(torch.rand(2, 7, 3, 5))
    assert scores.shape == (2, 3) and deltas.shape == (2, 8)
