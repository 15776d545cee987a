"""A checkpoint that does not fit is refused before anything of it is taken."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dyhead.checkpoint.resume import check_optimizer, check_weights


def trained(kind: Callable[..., torch.optim.Optimizer], *, width: int = 3) -> Any:
    """A model after one step, its optimizer, and the names of its parameters."""
    model = nn.Linear(2, width)
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind(model.parameters(), lr=0.1, **options)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return model, optimizer, {p: name for name, p in model.named_parameters()}


KINDS = [torch.optim.SGD, torch.optim.AdamW]


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_of_the_same_optimizer_fits(kind: Any) -> None:
    model, optimizer, names = trained(kind)
    check_weights(model.state_dict(), model.state_dict())
    check_optimizer(optimizer.state_dict(), optimizer, names, ["weight", "bias"])
    fresh = kind(model.parameters(), lr=0.1)
    check_optimizer(fresh.state_dict(), optimizer, names)  # before its first step


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(4, 2), (3,), (1,), ()])
def test_a_state_of_another_shape_is_named_with_both(kind: Any, shape: tuple[int, ...]) -> None:
    _, optimizer, names = trained(kind)
    saved = copy.deepcopy(optimizer.state_dict())
    key = "momentum_buffer" if kind is torch.optim.SGD else "exp_avg_sq"
    saved["state"][0][key] = torch.zeros(shape)
    with pytest.raises(ValueError, match=r"of weight has the shape \(.*parameter has \(3, 2\)"):
        check_optimizer(saved, optimizer, names)


def test_another_optimizer_is_named() -> None:
    _, sgd, names = trained(torch.optim.SGD)
    _, adam, _ = trained(torch.optim.AdamW)
    with pytest.raises(ValueError, match="of the optimizer AdamW, and the run has SGD"):
        check_optimizer(adam.state_dict(), sgd, names)
    with pytest.raises(ValueError, match="of the optimizer SGD, and the run has AdamW"):
        check_optimizer(sgd.state_dict(), adam, names)


def test_an_incomplete_state_is_refused() -> None:
    _, optimizer, names = trained(torch.optim.AdamW)
    saved = copy.deepcopy(optimizer.state_dict())
    del saved["state"][1]["exp_avg"]
    with pytest.raises(ValueError, match="lacks exp_avg for bias"):
        check_optimizer(saved, optimizer, names)
    with pytest.raises(ValueError, match="incomplete"):
        check_optimizer({"state": {}}, optimizer, names)


def test_other_groups_and_another_order_are_refused() -> None:
    model, optimizer, names = trained(torch.optim.SGD)
    saved = optimizer.state_dict()
    split = torch.optim.SGD([{"params": [model.weight]}, {"params": [model.bias]}], lr=0.1)
    with pytest.raises(ValueError, match=r"groups of \[2\], and the run's has 2 in groups of \[1"):
        check_optimizer(saved, split, names)
    with pytest.raises(ValueError, match="has bias where the run's has weight"):
        check_optimizer(saved, optimizer, names, ["bias", "weight"])


def test_weights_that_are_not_exactly_the_models_are_refused() -> None:
    model = nn.Linear(2, 3)
    wider = nn.Linear(2, 4).state_dict()
    with pytest.raises(ValueError, match=r"weight has the shape \(4, 2\), and the model's has \(3"):
        check_weights(wider, model.state_dict())
    with pytest.raises(ValueError, match=r"lacks 1 weights \(bias\)"):
        check_weights({"weight": model.weight}, model.state_dict())
    with pytest.raises(ValueError, match=r"has 1 further weights \(more\)"):
        check_weights({**model.state_dict(), "more": torch.ones(1)}, model.state_dict())
    spoilt = {**model.state_dict(), "bias": torch.tensor([0.0, torch.nan, 1.0])}
    with pytest.raises(ValueError, match=r"NaN or infinite values in 1 weights \(bias\)"):
        check_weights(spoilt, model.state_dict())
