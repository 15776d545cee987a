"""Batch norms in training: small batches, evaluation by running statistics, their average."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.d2.config import CfgNode
from dyhead.engine.trainer import Trainer

MakeConfig = Callable[..., CfgNode]
SETTINGS: dict[str, Any] = {
    "MODEL.META_ARCHITECTURE": "ATSS",
    "MODEL.BACKBONE.NAME": "build_timm_fpn_dyhead_backbone",
    "MODEL.TIMM.NAME": "test_efficientnet",
    "MODEL.FPN.IN_FEATURES": [],
    "MODEL.FPN.OUT_CHANNELS": 32,
    "MODEL.DYHEAD.CHANNELS": 32,
    "MODEL.DYHEAD.NUM_CONVS": 1,
    "MODEL.ATSS.CHANNELS": 32,
    "MODEL.ATSS.NUM_CONVS": 0,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[64], [128], [256], [512], [1024]],
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[1.0]],
    "SOLVER.BASE_LR": 0.01,
    "SOLVER.CHECKPOINT_PERIOD": 100,
}

pytestmark = pytest.mark.usefixtures("without_pictures")


def trained(cfg: CfgNode) -> Trainer:
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return trainer


def norms(model: nn.Module) -> dict[str, _BatchNorm]:
    return {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm)}


@pytest.mark.parametrize("batch", [1, 2])
def test_statistics_of_small_batches_move_and_serve_evaluation(
    make_config: MakeConfig, batch: int
) -> None:
    trainer = trained(make_config(**SETTINGS, **{"SOLVER.IMS_PER_BATCH": batch}))
    found = norms(trainer.model)
    assert found
    for norm in found.values():
        assert norm.training and norm.num_batches_tracked == 4
        assert torch.isfinite(norm.running_var).all() and norm.running_mean.abs().sum() > 0
    assert "bbox" in trainer._last_eval_results


def test_frozen_norms_keep_their_statistics(make_config: MakeConfig) -> None:
    cfg = make_config(**SETTINGS, **{"MODEL.TIMM.NORM": "FrozenBN"})
    torch.manual_seed(0)
    before = {name: value.clone() for name, value in Trainer(cfg).model.named_buffers()}
    trainer = trained(cfg)
    assert not norms(trainer.model)
    after = dict(trainer.model.named_buffers())
    statistics = [name for name in before if "running" in name]
    assert statistics
    assert all(torch.equal(before[name], after[name]) for name in statistics)


def test_the_average_is_evaluated_with_its_own_statistics(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def test(_: CfgNode, model: nn.Module) -> dict[str, Any]:
        seen.append({name: norm.running_mean.clone() for name, norm in norms(model).items()})
        return {"bbox": {"AP": 1.0}}

    monkeypatch.setattr(Trainer, "test", staticmethod(test))
    ema = {"SOLVER.EMA.ENABLED": True, "SOLVER.EMA.DECAY": 0.9}
    trainer = trained(make_config(**SETTINGS, **ema))
    assert trainer.average is not None
    averaged = trainer.average._average
    for name, mean in seen[-1].items():
        assert torch.equal(mean, averaged[f"{name}.running_mean"])
        assert not torch.equal(mean, norms(trainer.model)[name].running_mean)


def test_norms_get_their_own_weight_decay(make_config: MakeConfig) -> None:
    cfg = make_config(**SETTINGS, **{"SOLVER.WEIGHT_DECAY": 0.5, "SOLVER.WEIGHT_DECAY_NORM": 0.25})
    trainer = Trainer(cfg)
    groups = trainer.optimizer.param_groups
    decays = {p: group["weight_decay"] for group in groups for p in group["params"]}
    weights = [norm.weight for norm in norms(trainer.model).values() if norm.weight in decays]
    assert weights and all(decays[weight] == 0.25 for weight in weights)
