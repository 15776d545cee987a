"""Convolutions that compute the frozen norms behind them."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import timm
import torch
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn

from dyhead.modeling.backbone.frozen_norms import fold_timm_norms
from dyhead.modeling.backbone.same_padding import make_exportable

IMAGES = torch.rand(2, 3, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def make_model(name: str) -> nn.Module:
    """Make a model of timm in float64 whose frozen norms are not the identity."""
    torch.manual_seed(0)
    model = freeze_batch_norm_2d(timm.create_model(name, features_only=True)).double()
    randomise_norms(model)
    return model


def randomise_norms(model: nn.Module) -> None:
    for module in norms_of(model):
        module.running_mean.normal_()
        module.running_var.uniform_(0.5, 2.0)
        module.weight.normal_()
        module.bias.normal_()


def norms_of(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if hasattr(module, "running_mean")]


def example(model: nn.Module) -> Sequence[Tensor]:
    features = model(torch.zeros(1, 3, 32, 32, dtype=torch.float64))
    return features if isinstance(features, list) else [features]


def fold(model: nn.Module) -> int:
    make_exportable(model)
    return fold_timm_norms(model, lambda: example(model))


@pytest.mark.parametrize(
    ("name", "separate"),
    [
        ("tf_efficientnet_lite0", 0),  # pads as TensorFlow does; norms hold activations
        ("resnet18", 0),
        ("resnet18d.ra2_in1k", 0),
        ("densenet121", 62),  # behind concatenations
    ],
)
def test_maps_and_gradients_are_those_of_norms_apart(name: str, separate: int) -> None:
    apart, folded = make_model(name), make_model(name)
    count = len(norms_of(apart))
    assert fold(folded) == count - separate
    assert list(folded.state_dict()) == list(apart.state_dict())
    for ours, theirs in zip(folded(IMAGES), apart(IMAGES), strict=True):
        torch.testing.assert_close(
            ours, theirs, rtol=1e-9, atol=1e-9 * float(theirs.detach().std())
        )
    for model in (folded, apart):
        sum(feature.square().mean() for feature in model(IMAGES)).backward()
    for ours, theirs in zip(folded.parameters(), apart.parameters(), strict=True):
        if theirs.grad is not None:
            assert (ours.grad - theirs.grad).norm() <= 1e-9 * theirs.grad.norm()


def test_values_loaded_later_act_in_copies_too() -> None:
    folded = make_model("resnet18")
    fold(folded)
    duplicate, apart = copy.deepcopy(folded), make_model("resnet18")
    before = duplicate(IMAGES)[-1]
    torch.manual_seed(1)
    randomise_norms(apart)
    duplicate.load_state_dict(apart.state_dict())
    torch.testing.assert_close(duplicate(IMAGES)[-1], apart(IMAGES)[-1])
    torch.testing.assert_close(folded(IMAGES)[-1], before)


class Branching(nn.Module):
    """A convolution whose output is used once more beside its norm, and one that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.twice, self.last = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.shared(images)
        maps = maps + self.norm(maps)
        result: Tensor = self.last(self.twice(self.twice(maps)))
        return result


def test_an_output_that_is_needed_elsewhere_keeps_its_norm() -> None:
    torch.manual_seed(0)
    model = freeze_batch_norm_2d(Branching()).double()
    randomise_norms(model)
    before = model(IMAGES)
    assert fold(model) == 0
    assert torch.equal(model(IMAGES), before)


def test_norms_that_learn_are_left() -> None:
    model = timm.create_model("resnet18", features_only=True).double()
    assert fold(model) == 0
