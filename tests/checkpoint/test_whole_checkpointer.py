"""Weights that would leave a part of a detector random or useless are refused by name."""

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import assert_same_weights, make
from torch import nn

from dyhead.checkpoint.whole_checkpointer import WholeCheckpointer
from dyhead.d2.config import CfgNode
from dyhead.errors import UserError

CONFIG = "dyhead_r50_atss_fpn_1x.yaml"


@pytest.fixture(scope="module")
def trained() -> tuple[CfgNode, nn.Module]:
    return make(CONFIG)


@pytest.fixture
def load(tmp_path: Path):
    """Call it with a config, a model and weights to have them loaded from a file."""

    def run(cfg: CfgNode, model: nn.Module, weights: dict[str, Any], **options: Any) -> None:
        path = str(tmp_path / "w.pth")
        torch.save({"model": weights}, path)
        WholeCheckpointer(model, cfg, source=path, **options).load(path, checkpointables=[])

    return run


def test_a_whole_detector_is_loaded(trained, load) -> None:
    cfg, model = trained
    _, other = make(CONFIG)
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    load(cfg, other, model.state_dict())
    assert_same_weights(other, model)


def test_missing_tensors_are_counted_and_named(trained, load) -> None:
    cfg, model = trained
    weights = model.state_dict()
    missing = list(weights)[::3]
    for name in missing:
        del weights[name]
    with pytest.raises(UserError) as refused:
        load(cfg, model, weights)
    assert f"lacks {len(missing)} of the model's {3 * len(missing)}"[:-2] in str(refused.value)
    assert missing[0] in str(refused.value) and "w.pth" in str(refused.value)


def test_a_missing_statistic_of_a_norm_counts(trained, load) -> None:
    cfg, model = trained
    weights = model.state_dict()
    name = next(name for name in weights if name.endswith("running_var"))
    del weights[name]
    with pytest.raises(UserError, match=f"lacks 1 of .*{name}"):
        load(cfg, model, weights)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
@pytest.mark.parametrize("everywhere", [True, False])
def test_values_that_are_not_finite_are_named(
    trained, load, value: float, everywhere: bool
) -> None:
    cfg, model = trained
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    spoilt = list(weights) if everywhere else list(weights)[-1:]
    for name in spoilt:
        weights[name].view(-1)[-1] = value
    with pytest.raises(UserError, match=f"NaN or infinite values in {len(spoilt)} .*{spoilt[0]}"):
        load(cfg, model, weights)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (CONFIG, "MODEL.ATSS.NUM_CLASSES"),
        ("dyhead_r50_reppoints_fpn_1x.yaml", "MODEL.REPPOINTS.NUM_CLASSES"),
        ("dyhead_r50_retina_fpn_1x_without_towers.yaml", "MODEL.RETINANET.NUM_CLASSES"),
        ("dyhead_r50_rcnn_fpn_1x.yaml", "MODEL.ROI_HEADS.NUM_CLASSES"),
    ],
)
def test_another_number_of_classes_is_said_in_both_numbers(load, config: str, key: str) -> None:
    _, model = make(config, key, "5")
    cfg, other = make(config, key, "3")
    with pytest.raises(UserError, match=f"number of classes: 5, while the model has 3 .*{key} 5"):
        load(cfg, other, model.state_dict())


def test_other_shapes_are_said_both(trained, load) -> None:
    cfg, model = trained
    weights = model.state_dict()
    weights["backbone.fpn.fpn_output3.weight"] = torch.ones(32, 32, 5, 5)
    with pytest.raises(UserError, match=r"\(32, 32, 5, 5\) in the file and \(32, 32, 3, 3\) in"):
        load(cfg, model, weights)


def test_another_architecture_is_refused(trained, load) -> None:
    _, model = trained
    for config in ("dyhead_r50_fcos_fpn_1x.yaml", "dyhead_r50_retina_fpn_1x.yaml"):
        cfg, other = make(config)
        with pytest.raises(UserError, match="w.pth (lacks|was made for another config)"):
            load(cfg, other, model.state_dict())
    cfg, other = make("dyhead_swint_atss_fpn_2x_ms.yaml")
    with pytest.raises(ValueError, match=r"Hardly a weight of the checkpoint fits .*\d+ of \d+"):
        load(cfg, other, model.state_dict(), allow_partial=True)


def test_a_backbone_alone_is_no_detector(load) -> None:
    cfg, model = make(CONFIG)
    prefix = "backbone.fpn.bottom_up."
    backbone = {
        name.removeprefix(prefix): weight
        for name, weight in model.state_dict().items()
        if name.startswith(prefix)
    }
    with pytest.raises(UserError, match="lacks .*which would stay random"):
        load(cfg, model, backbone)


def test_what_is_too_much_is_only_a_warning(
    trained, load, caplog: pytest.LogCaptureFixture
) -> None:
    cfg, model = trained
    load(cfg, model, {**model.state_dict(), "backbone.blocks.9.extra.weight": torch.ones(1)})
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "unexpected: 1 (backbone.blocks.9.extra.weight)" in warning


def test_those_who_mean_it_get_a_warning_with_the_list(
    trained, load, caplog: pytest.LogCaptureFixture
) -> None:
    cfg, model = trained
    weights = model.state_dict()
    missing = "head.cls_logits.weight"
    del weights[missing]
    load(cfg, model, weights, allow_partial=True)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any(f"missing: 1 ({missing})" in warning for warning in warnings)
    assert any("lacks 1 of" in warning and "as allowed" in warning for warning in warnings)


def test_counters_of_norms_are_not_needed(load) -> None:
    cfg, model = make(CONFIG, "MODEL.RESNETS.NORM", "BN")
    weights = model.state_dict()
    counters = [name for name in weights if name.endswith("num_batches_tracked")]
    assert counters
    for name in counters:
        del weights[name]
    load(cfg, model, weights)
