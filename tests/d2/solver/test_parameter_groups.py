"""Settings of each parameter, on either host."""

import pytest
import torch
from embedded_host.solver.build import _expand_param_groups, reduce_param_groups
from torch import nn

from dyhead.d2.config import get_cfg
from dyhead.d2.solver import build_optimizer, get_default_optimizer_params


def make_model() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.Linear(4, 2)
    )
    model[3].weight.requires_grad = False
    return model


def settings(groups, parameter) -> dict:
    found = [g for g in groups if any(p is parameter for p in g["params"])]
    assert len(found) == 1
    return {key: value for key, value in found[0].items() if key != "params"}


def test_plain_settings_make_one_group_of_trainable_parameters():
    model = make_model()
    groups = get_default_optimizer_params(model)
    assert len(groups) == 1
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in groups[0]["params"]} == trainable


def test_norm_and_bias_get_their_own_settings():
    model = make_model()
    groups = get_default_optimizer_params(
        model,
        base_lr=0.1,
        weight_decay=1e-4,
        weight_decay_norm=0.0,
        bias_lr_factor=2.0,
        weight_decay_bias=0.5,
    )
    assert settings(groups, model[0].weight) == {"lr": 0.1, "weight_decay": 1e-4}
    assert settings(groups, model[0].bias) == {"lr": 0.2, "weight_decay": 0.5}
    for norm in (model[1], model[2]):
        assert settings(groups, norm.weight) == {"lr": 0.1, "weight_decay": 0.0}
        assert settings(groups, norm.bias) == {"lr": 0.2, "weight_decay": 0.5}
    assert len(groups) == 3


def test_a_function_of_the_name_scales_the_learning_rate():
    model = make_model()
    groups = get_default_optimizer_params(
        model, base_lr=1.0, lr_factor_func=lambda name: 0.5 if name == "0.weight" else 1.0
    )
    assert settings(groups, model[0].weight)["lr"] == 0.5
    assert settings(groups, model[0].bias)["lr"] == 1.0


def test_overrides_by_name_win():
    model = make_model()
    groups = get_default_optimizer_params(
        model, base_lr=1.0, weight_decay_norm=0.0, overrides={"weight": {"weight_decay": 9.0}}
    )
    assert settings(groups, model[1].weight)["weight_decay"] == 9.0


def test_contradicting_settings_are_refused():
    model = make_model()
    with pytest.raises(ValueError):
        get_default_optimizer_params(model, bias_lr_factor=2.0)
    with pytest.raises(ValueError):
        get_default_optimizer_params(model, lr_factor_func=lambda name: 1.0)
    with pytest.raises(ValueError):
        get_default_optimizer_params(
            model, base_lr=1.0, weight_decay_bias=1.0, overrides={"bias": {"lr": 1.0}}
        )


def test_shared_parameters_occur_once():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    groups = get_default_optimizer_params(model, base_lr=1.0)
    assert sum(len(group["params"]) for group in groups) == 3


def test_groups_expand_and_reduce_with_later_settings_winning():
    groups = [
        {"params": ["a", "b"], "lr": 1.0, "weight_decay": 3.0},
        {"params": ["b", "c"], "lr": 2.0, "momentum": 2.0},
        {"params": ["d"], "lr": 1.0, "weight_decay": 3.0},
    ]
    assert _expand_param_groups(groups) == [
        {"params": ["a"], "lr": 1.0, "weight_decay": 3.0},
        {"params": ["b"], "lr": 2.0, "weight_decay": 3.0, "momentum": 2.0},
        {"params": ["c"], "lr": 2.0, "momentum": 2.0},
        {"params": ["d"], "lr": 1.0, "weight_decay": 3.0},
    ]
    assert reduce_param_groups(groups) == [
        {"params": ["a", "d"], "lr": 1.0, "weight_decay": 3.0},
        {"params": ["b"], "lr": 2.0, "weight_decay": 3.0, "momentum": 2.0},
        {"params": ["c"], "lr": 2.0, "momentum": 2.0},
    ]


def test_names_stay_with_their_parameters():
    groups = [{"params": ["a", "b"], "param_names": ["A", "B"], "lr": 1.0}]
    assert reduce_param_groups(groups) == groups


def test_the_config_makes_sgd_with_its_keys():
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR = 0.02
    cfg.SOLVER.NESTEROV = True
    cfg.SOLVER.WEIGHT_DECAY_NORM = 0.0
    cfg.SOLVER.BIAS_LR_FACTOR = 2.0
    model = make_model()
    optimizer = build_optimizer(cfg, model)
    assert isinstance(optimizer, torch.optim.SGD)
    conv = settings(optimizer.param_groups, model[0].weight)
    assert conv["lr"] == 0.02 and conv["momentum"] == 0.9 and conv["nesterov"]
    assert conv["weight_decay"] == cfg.SOLVER.WEIGHT_DECAY
    assert settings(optimizer.param_groups, model[1].weight)["weight_decay"] == 0.0
    assert settings(optimizer.param_groups, model[0].bias)["lr"] == 0.04
