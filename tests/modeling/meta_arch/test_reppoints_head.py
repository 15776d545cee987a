"""The head of RepPoints: where it samples, how gradients reach the points, what it refuses."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dyhead.modeling.meta_arch.reppoints_head import PointConvolution, RepPointsHead, regular_grid


def build_head(seed=0, **arguments):
    """A small head of lively weights."""
    torch.manual_seed(seed)
    arguments = {"in_channels": 4, "num_classes": 3, "point_channels": 5} | arguments
    head = RepPointsHead(**arguments)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.3)
    return head.double()


def bilinear(channel, y, x):
    """The value of a map (nested lists) between its pixels; zero outside."""
    top, left, total = math.floor(y), math.floor(x), 0.0
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < len(channel) and 0 <= column < len(channel[0]):
                share = (1 - abs(y - row)) * (1 - abs(x - column))
                total += share * channel[row][column]
    return total


def naive_point_convolution(feature, points, weight):
    """Values (O, H, W) of a feature (C, H, W) at the points (2P, H, W) of every location."""
    channels, height, width = feature.shape
    maps, taps = feature.tolist(), weight.flatten(2)
    output = torch.zeros(len(weight), height, width, dtype=feature.dtype)
    for y in range(height):
        for x in range(width):
            for k in range(taps.shape[2]):
                place = y + points[2 * k, y, x].item(), x + points[2 * k + 1, y, x].item()
                sampled = [bilinear(maps[c], *place) for c in range(channels)]
                output[:, y, x] += taps[:, :, k] @ torch.tensor(sampled, dtype=feature.dtype)
    return output


@pytest.mark.parametrize("num_points", [9, 25])
def test_classes_and_moves_are_sampled_at_the_initial_points(num_points):
    head = build_head(num_points=num_points)
    feature = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    with torch.no_grad():
        logits, initial, refined = head.predict_points(feature)
        hidden = F.conv2d(feature, head.init_conv.weight, head.init_conv.bias, padding=1).relu()
        expected = F.conv2d(hidden, head.init_points.weight, head.init_points.bias)
        torch.testing.assert_close(initial, expected)

        def at_points(convolution):
            sampled = naive_point_convolution(feature[0], initial[0], convolution.weight)
            return sampled.relu()[None]

        torch.testing.assert_close(logits, head.cls_logits(at_points(head.cls_conv)))
        moves = head.refine_points(at_points(head.refine_conv))
        torch.testing.assert_close(refined, initial + moves)


def test_points_on_the_regular_grid_make_a_plain_convolution():
    assert regular_grid(3).flatten().tolist()[:6] == [-1, -1, -1, 0, -1, 1]
    convolution = PointConvolution(4, 5, 3)
    feature = torch.randn(2, 4, 6, 7)
    output = convolution(feature, torch.zeros(2, 18, 6, 7))
    torch.testing.assert_close(output, F.conv2d(feature, convolution.weight, padding=1))


@pytest.mark.parametrize("num_convs", [0, 2])
def test_shapes_and_parameters(num_convs):
    head = build_head(num_convs=num_convs, channels=32)
    features = [torch.randn(2, 4, s, s + 1, dtype=torch.float64) for s in (4, 2)]
    logits, initial, refined = head(features)
    assert [tuple(x.shape) for x in logits] == [(2, 3, 4, 5), (2, 3, 2, 3)]
    assert [tuple(x.shape) for x in initial] == [(2, 4, 4, 5), (2, 4, 2, 3)]
    assert [tuple(x.shape) for x in refined] == [(2, 4, 4, 5), (2, 4, 2, 3)]
    convolutions = [m for m in head.points_tower if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == len([m for m in head.cls_tower if isinstance(m, nn.Conv2d)])
    assert len(convolutions) == num_convs
    assert "grid" not in head.state_dict()
    assert "pseudo_box.moment_transfer" in head.state_dict()


def gradient_of_initial_points(share, output):
    """Gradient that reaches the initial points' bias from classes (0) or refined points (2)."""
    head = build_head(gradient_mul=share)
    feature = torch.randn(1, 4, 5, 6, dtype=torch.float64, generator=torch.manual_seed(1))
    head.predict_points(feature)[output].square().sum().backward()
    return head.init_points.bias.grad


@pytest.mark.parametrize("output", [0, 2])
def test_sampling_passes_a_share_of_the_gradient_to_the_initial_points(output):
    whole = gradient_of_initial_points(1.0, output)
    assert whole.abs().max() > 0
    torch.testing.assert_close(gradient_of_initial_points(0.1, output), 0.1 * whole)
    assert not gradient_of_initial_points(0.0, output).any()


def test_the_first_scores_are_the_prior_and_the_first_points_are_near():
    torch.manual_seed(0)
    head = RepPointsHead(in_channels=64, num_classes=3, prior_prob=0.02)
    logits, initial, refined = head([torch.randn(1, 64, 6, 6)])
    assert logits[0].sigmoid().mean().item() == pytest.approx(0.02, abs=2e-3)
    assert initial[0].abs().max() < 1
    assert refined[0].abs().max() < 1


def test_points_keep_their_digits_under_mixed_precision():
    head, features = build_head().float(), [torch.randn(1, 4, 6, 6)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head(features)
    for kind, exact in zip(found, head(features), strict=True):
        error = (kind[0].float() - exact[0]).abs().max()
        assert error < 0.03 * exact[0].abs().max()
    assert found[1][0].dtype == found[2][0].dtype == torch.float32


@pytest.mark.parametrize("num_points", [-1, 0, 1, 4, 8, 16])
def test_points_that_form_no_square_with_a_middle_are_refused(num_points):
    with pytest.raises(ValueError, match=f"NUM_POINTS is {num_points}: .* odd number"):
        RepPointsHead(in_channels=4, num_classes=3, num_points=num_points)
