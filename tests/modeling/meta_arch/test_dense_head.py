"""The head: its maps of any levels, its initialisation, and its one bad input."""

import pytest
import torch
from torch import nn

from dyhead.modeling.meta_arch.dense_head import DenseHead


@pytest.mark.parametrize("num_levels", [1, 3, 6])
@pytest.mark.parametrize("num_convs", [0, 2])
def test_every_level_gets_its_maps(num_levels, num_convs):
    head = DenseHead(
        in_channels=8,
        num_levels=num_levels,
        num_classes=5,
        num_anchors=2,
        num_convs=num_convs,
        channels=32,
    )
    features = [torch.randn(2, 8, 12 - i, 9) for i in range(num_levels)]
    logits, deltas, centerness = head(features)
    for i, feature in enumerate(features):
        of_class, of_box = head.cls_tower(feature), head.bbox_tower(feature)
        assert logits[i].shape == (2, 2 * 5, 12 - i, 9)
        torch.testing.assert_close(logits[i], head.cls_logits(of_class))
        torch.testing.assert_close(deltas[i], head.bbox_pred(of_box))
        torch.testing.assert_close(centerness[i], head.centerness(of_box))


def test_without_convolutions_the_predictors_sit_on_the_features():
    head = DenseHead(in_channels=8, num_levels=5, num_classes=80, num_convs=0)
    names = {name for name, _ in head.named_parameters()}
    predictors = ("cls_logits", "bbox_pred", "centerness")
    expected = {f"{predictor}.{x}" for predictor in predictors for x in ("weight", "bias")}
    assert names == expected | {f"scales.{i}.scale" for i in range(5)}
    assert head.cls_logits.weight.shape == (80, 8, 1, 1)


@pytest.mark.parametrize("use_gn", [False, True])
def test_towers_have_the_convolutions_asked_for(use_gn):
    arguments = {"in_channels": 8, "num_levels": 2, "num_classes": 4, "channels": 64}
    head = DenseHead(num_convs=3, use_gn=use_gn, **arguments)
    for tower in (head.cls_tower, head.bbox_tower):
        kinds = [type(layer) for layer in tower]
        assert kinds == [nn.Conv2d, *([nn.GroupNorm] if use_gn else []), nn.ReLU] * 3


def test_every_anchor_starts_at_the_prior_score():
    torch.manual_seed(0)
    head = DenseHead(in_channels=8, num_levels=1, num_classes=4, prior_prob=0.03)
    (logits,), (deltas,), (centerness,) = head([torch.randn(1, 8, 20, 20)])
    assert logits.sigmoid().mean().item() == pytest.approx(0.03, rel=0.02)
    assert deltas.abs().max() < 0.2
    assert centerness.sigmoid().mean().item() == pytest.approx(0.5, abs=0.02)


def test_each_level_scales_its_own_box_deltas():
    head = DenseHead(in_channels=8, num_levels=2, num_classes=4)
    feature = torch.randn(1, 8, 5, 5)
    nn.init.constant_(head.scales[1].scale, 3.0)
    _, (first, second), _ = head([feature, feature])
    torch.testing.assert_close(second, 3 * first)


def test_channels_that_group_norm_cannot_divide_are_refused():
    with pytest.raises(ValueError, match="CHANNELS=48 .*32.*USE_GN"):
        DenseHead(in_channels=8, num_levels=2, num_classes=4, num_convs=1, channels=48)


def test_predictors_start_as_wide_as_asked_and_towers_as_ever():
    torch.manual_seed(0)
    head = DenseHead(
        in_channels=256, num_levels=1, num_classes=20, num_convs=1, predictor_init_std=0.1
    )
    assert head.cls_logits.weight.std().item() == pytest.approx(0.1, rel=0.05)
    assert head.bbox_pred.weight.std().item() == pytest.approx(0.1, rel=0.1)
    assert head.cls_tower[0].weight.std().item() == pytest.approx(0.01, rel=0.05)
