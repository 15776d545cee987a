"""Clipping of each parameter's gradient, on either host."""

import pytest
import torch
from torch import nn

from dyhead.d2.config import get_cfg
from dyhead.d2.solver.build import maybe_add_gradient_clipping


def config(clip_type: str, limit: float, enabled: bool = True):
    cfg = get_cfg()
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = enabled
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = clip_type
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = limit
    return cfg


def step_with_gradients(cfg, as_type: bool) -> list[torch.Tensor]:
    """Return how far two parameters move at learning rate 1 with gradients (3, 4) and (30, 40)."""
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))]
    if as_type:
        optimizer = maybe_add_gradient_clipping(cfg, torch.optim.SGD)(parameters, lr=1.0)
    else:
        optimizer = maybe_add_gradient_clipping(cfg, torch.optim.SGD(parameters, lr=1.0))
    assert isinstance(optimizer, torch.optim.SGD)
    for parameter, scale in zip(parameters, (1.0, 10.0), strict=True):
        parameter.grad = scale * torch.tensor([3.0, 4.0])
    optimizer.step()
    return [-parameter.detach() for parameter in parameters]


@pytest.mark.parametrize("as_type", [True, False])
def test_by_value_limits_each_element(as_type):
    first, second = step_with_gradients(config("value", 3.5), as_type)
    torch.testing.assert_close(first, torch.tensor([3.0, 3.5]))
    torch.testing.assert_close(second, torch.tensor([3.5, 3.5]))


@pytest.mark.parametrize("as_type", [True, False])
def test_by_norm_limits_each_parameter_on_its_own(as_type):
    first, second = step_with_gradients(config("norm", 10.0), as_type)
    torch.testing.assert_close(first, torch.tensor([3.0, 4.0]))
    torch.testing.assert_close(second, torch.tensor([6.0, 8.0]), atol=1e-4, rtol=1e-4)


def test_the_norm_is_that_of_its_type():
    cfg = config("norm", 10.0)
    cfg.SOLVER.CLIP_GRADIENTS.NORM_TYPE = float("inf")
    _, second = step_with_gradients(cfg, as_type=False)
    torch.testing.assert_close(second, torch.tensor([7.5, 10.0]), atol=1e-4, rtol=1e-4)


def test_disabled_leaves_the_optimizer_alone():
    cfg = config("value", 1.0, enabled=False)
    assert maybe_add_gradient_clipping(cfg, torch.optim.SGD) is torch.optim.SGD
    first, _ = step_with_gradients(cfg, as_type=False)
    torch.testing.assert_close(first, torch.tensor([3.0, 4.0]))


def test_an_unknown_type_is_refused():
    with pytest.raises(ValueError, match="full_model"):
        maybe_add_gradient_clipping(config("full_model", 1.0), torch.optim.SGD)
