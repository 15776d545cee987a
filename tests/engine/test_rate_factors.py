"""Learning rates of the backbone, its stages and the DyHead blocks, relative to the others'."""

from typing import Any

import pytest
import torch
from small_backbone import SMALL_BACKBONE
from torch import nn

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import build_model
from dyhead.engine.optimizer import build_optimizer
from dyhead.engine.rate_factors import scale_rates

KEYS: dict[str, Any] = {
    **SMALL_BACKBONE,
    "MODEL.META_ARCHITECTURE": "ATSS",
    "MODEL.ATSS.CHANNELS": 32,
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.DYHEAD.NUM_CONVS": 1,
    "SOLVER.BASE_LR": 0.1,
    "SOLVER.BIAS_LR_FACTOR": 2.0,
}


def config(dyhead: dict[str, Any] | None = None, **solver: float) -> CfgNode:
    changes = {**KEYS, **{f"SOLVER.{key}": value for key, value in solver.items()}}
    changes |= {f"MODEL.DYHEAD.{key}": value for key, value in (dyhead or {}).items()}
    return load_config("", [str(part) for item in changes.items() for part in item])[0]


def rates(cfg: CfgNode, model: nn.Module) -> dict[str, float]:
    groups = build_optimizer(cfg, model).param_groups
    by_parameter = {p: group["lr"] for group in groups for p in group["params"]}
    return {n: by_parameter[p] for n, p in model.named_parameters() if p in by_parameter}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build_model(config())


def test_factors_multiply_the_rates_of_their_part_alone(model: nn.Module) -> None:
    plain = rates(config(), model)
    scaled = rates(config(BACKBONE_LR_FACTOR=0.1, DYHEAD_LR_FACTOR=4.0), model)
    assert plain.keys() == scaled.keys()
    for name, rate in plain.items():
        is_backbone = name.startswith("backbone.fpn.bottom_up.")
        factor = 0.1 if is_backbone else 4.0 if name.startswith("backbone.blocks.") else 1.0
        assert scaled[name] == pytest.approx(factor * rate), name


def test_offsets_have_a_factor_besides_that_of_their_blocks(model: nn.Module) -> None:
    plain = rates(config(), model)
    scaled = rates(config(DYHEAD_LR_FACTOR=4.0, OFFSET_LR_FACTOR=0.1), model)
    changed = {n: scaled[n] / rate for n, rate in plain.items() if scaled[n] != rate}
    offsets = {name for name in changed if ".offset_and_mask." in name}
    assert len(offsets) == 2  # weight and bias of the one block
    for name, factor in changed.items():
        assert factor == pytest.approx(0.4 if name in offsets else 4.0), name


def test_the_rate_falls_from_stage_to_stage(model: nn.Module) -> None:
    scaled = rates(config(BACKBONE_LR_FACTOR=0.5, BACKBONE_LR_DECAY=0.1), model)
    expected = {"stem": 0.005, "res2": 0.005, "res3": 0.005, "res4": 0.05, "res5": 0.5}
    for name, rate in scaled.items():
        factor = expected[name.split(".")[3]] if "bottom_up" in name else 1.0
        base = 0.2 if name.endswith(".bias") else 0.1
        assert rate == pytest.approx(factor * base), name


def test_momenta_and_decays_stay_those_of_their_group(model: nn.Module) -> None:
    plain = build_optimizer(config(), model)
    scaled = build_optimizer(config(BACKBONE_LR_FACTOR=0.1, DYHEAD_LR_FACTOR=4.0), model)
    assert decays(plain) == decays(scaled)


def decays(optimizer: torch.optim.Optimizer) -> dict[nn.Parameter, tuple[float, float]]:
    groups = optimizer.param_groups
    return {p: (g["weight_decay"], g["momentum"]) for g in groups for p in g["params"]}


def test_without_factors_the_groups_stay_as_they_are() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    groups = [{"params": weights[:2], "lr": 0.1}, {"params": weights[2:], "lr": 0.2}]
    assert scale_rates(groups, {}) == groups


def test_a_group_is_split_where_its_factors_differ() -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    split = scale_rates([{"params": weights, "lr": 0.2, "weight_decay": 0.5}], {weights[1]: 0.5})
    assert split == [
        {"params": [weights[0], weights[2]], "lr": 0.2, "weight_decay": 0.5},
        {"params": [weights[1]], "lr": 0.1, "weight_decay": 0.5},
    ]


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("BACKBONE_LR_FACTOR", "backbone below a pyramid"),
        ("BACKBONE_LR_DECAY", "backbone below a pyramid"),
        ("DYHEAD_LR_FACTOR", "DyHead blocks"),
        ("OFFSET_LR_FACTOR", "DyHead blocks with offsets"),
    ],
)
def test_a_part_that_is_not_there_is_warned_of(
    caplog: pytest.LogCaptureFixture, key: str, part: str
) -> None:
    build_optimizer(config(**{key: 0.5}), nn.Linear(1, 1))
    assert f"the model has no {part}" in caplog.text


ALL_OFF = dict.fromkeys(("SCALE_AWARE", "SPATIAL_AWARE", "TASK_AWARE"), False)


@pytest.mark.parametrize(
    ("key", "dyhead"),
    [
        ("DYHEAD_LR_FACTOR", {"NUM_CONVS": 0}),
        ("DYHEAD_LR_FACTOR", ALL_OFF),
        ("OFFSET_LR_FACTOR", {"NUM_CONVS": 0}),
        ("OFFSET_LR_FACTOR", {"SPATIAL_AWARE": False}),
    ],
)
def test_a_part_that_the_config_leaves_out_is_not_warned_of(
    caplog: pytest.LogCaptureFixture, key: str, dyhead: dict[str, Any]
) -> None:
    cfg = config(dyhead, **{key: 0.5})
    model = build_model(cfg)
    assert rates(cfg, model) == rates(config(dyhead), model)
    assert "nothing is scaled" not in caplog.text


def test_blocks_without_offsets_are_warned_of_where_the_config_asks_for_offsets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cfg = config({"SPATIAL_AWARE": False}, OFFSET_LR_FACTOR=0.5)
    without = build_model(cfg)
    cfg.MODEL.DYHEAD.SPATIAL_AWARE = True
    build_optimizer(cfg, without)
    assert "the model has no DyHead blocks with offsets" in caplog.text
