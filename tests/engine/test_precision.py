"""Mixed precision in training and evaluation, and the precision of float32, by config."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_backbone import SMALL_BACKBONE
from torch import nn

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.d2.config import CfgNode
from dyhead.d2.layers import ROIAlign
from dyhead.d2.modeling.proposal_generator import StandardRPNHead
from dyhead.engine.precision import (
    build_test_precision,
    keep_predictions_in_float32,
    pool_by_exact_boxes,
    settle_precision,
    training_type,
)
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError

MakeConfig = Callable[..., CfgNode]
SMALL = {
    **SMALL_BACKBONE,
    "MODEL.FPN.NORM": "GN",
    "MODEL.DYHEAD.NUM_CONVS": 1,
    "SOLVER.MAX_ITER": 2,
    "SOLVER.CHECKPOINT_PERIOD": 1000,
}
DETECTORS: dict[str, dict[str, Any]] = {
    "ATSS": {"MODEL.ATSS.NUM_CONVS": 0},
    "FCOS": {"MODEL.FCOS.NUM_CONVS": 0},
    "RepPoints": {"MODEL.REPPOINTS.NUM_CONVS": 0, "MODEL.REPPOINTS.POINT_CHANNELS": 32},
    "DyHeadRetinaNet": {"MODEL.RETINANET.NUM_CONVS": 0},
    "GeneralizedRCNN": {
        "MODEL.RPN.IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
        "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
        "MODEL.ROI_HEADS.IN_FEATURES": ["p3", "p4", "p5", "p6"],
        "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
        "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 3,
    },
}


@pytest.fixture
def float32_precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def small(make_config: MakeConfig, name: str, **changes: Any) -> CfgNode:
    arch = {"MODEL.META_ARCHITECTURE": name}
    return make_config(**{**SMALL, **arch, **DETECTORS[name], **changes})


def losses_of(cfg: CfgNode) -> dict[str, float]:
    lines = Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()
    return {key: value for key, value in json.loads(lines[0]).items() if key.startswith("loss_")}


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_train_and_evaluate_in_bfloat16_on_the_cpu(
    make_config: MakeConfig, tmp_path: Path, name: str
) -> None:
    seen: dict[str, set[torch.dtype]] = {"features": set(), "losses": set(), "boxes": set()}

    def note_features(_: nn.Module, inputs: Any, features: dict[str, torch.Tensor]) -> None:
        seen["features"] |= {feature.dtype for feature in features.values()}

    def note_outputs(_: nn.Module, inputs: Any, outputs: Any) -> None:
        if isinstance(outputs, dict):
            seen["losses"] |= {loss.dtype for loss in outputs.values()}
        else:
            found = [output["instances"] for output in outputs]
            seen["boxes"] |= {each.pred_boxes.tensor.dtype for each in found}
            seen["boxes"] |= {each.scores.dtype for each in found}

    losses = {}
    for enabled in (False, True):
        precision = {"SOLVER.AMP.ENABLED": enabled, "OUTPUT_DIR": str(tmp_path / str(enabled))}
        if enabled:
            precision["TEST.PRECISION"] = "bfloat16"
        cfg = small(make_config, name, **precision)
        torch.manual_seed(0)
        np.random.seed(0)  # of which the loader draws the order of the images
        trainer = Trainer(cfg)
        if enabled:
            trainer.model.backbone.register_forward_hook(note_features)
            trainer.model.register_forward_hook(note_outputs)
        torch.manual_seed(0)
        trainer.train()
        losses[enabled] = losses_of(cfg)
    assert seen == {
        "features": {torch.bfloat16},
        "losses": {torch.float32},
        "boxes": {torch.float32},
    }
    assert losses[True].keys() == losses[False].keys()
    for key, value in losses[True].items():
        assert value == pytest.approx(losses[False][key], rel=0.1, abs=0.02)


@pytest.mark.usefixtures("without_pictures")
def test_only_the_losses_of_a_training_in_bfloat16_are_computed_in_it(
    make_config: MakeConfig,
) -> None:
    trainer = Trainer(make_config(**{"SOLVER.AMP.ENABLED": True, "TEST.EVAL_PERIOD": 2}))
    model, seen = trainer.model, []

    def note(model: nn.Module, inputs: Any) -> None:
        seen.append((model.training, torch.is_autocast_enabled("cpu")))

    model.register_forward_pre_hook(note)
    trainer.train()
    assert set(seen) == {(True, True), (False, False)}
    assert trainer.model is model


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("first", [False, True])
def test_a_run_can_be_resumed_in_another_precision(make_config: MakeConfig, first: bool) -> None:
    Trainer(make_config(**{"SOLVER.AMP.ENABLED": first})).train()
    resumed = Trainer(make_config(**{"SOLVER.AMP.ENABLED": not first, "SOLVER.MAX_ITER": 6}))
    resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 4
    resumed.train()


def test_the_scale_of_the_loss_goes_on_only_from_a_run_that_has_one(
    make_config: MakeConfig,
) -> None:
    def scale(trainer: Trainer) -> float:
        return trainer.state_dict()["_trainer"]["grad_scaler"]["scale"]

    scaled = Trainer(make_config(**{"SOLVER.AMP.ENABLED": True, "SOLVER.AMP.DTYPE": "float16"}))
    scaled_state = scaled.state_dict()
    scaled_state["_trainer"]["grad_scaler"]["scale"] = 32.0
    scaled.load_state_dict(scaled_state)
    assert scale(scaled) == 32.0
    unscaled = Trainer(make_config())
    scaled.load_state_dict(unscaled.state_dict())
    assert scale(scaled) == 32.0
    unscaled.load_state_dict(scaled_state)
    assert "grad_scaler" not in unscaled.state_dict()["_trainer"]


def test_type_of_training_follows_the_device(make_config: MakeConfig) -> None:
    assert training_type(make_config()) == torch.bfloat16
    assert training_type(make_config(**{"MODEL.DEVICE": "cuda:1"})) == torch.float16
    cuda = {"MODEL.DEVICE": "cuda", "SOLVER.AMP.DTYPE": "bfloat16"}
    assert training_type(make_config(**cuda)) == torch.bfloat16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TEST.PRECISION": "float16"}, "TEST.PRECISION 'float16' needs a GPU.*'bfloat16' on cpu"),
        (
            {"SOLVER.AMP.ENABLED": True, "SOLVER.AMP.DTYPE": "float16"},
            "SOLVER.AMP.DTYPE 'float16' needs a GPU.*'bfloat16' on cpu",
        ),
    ],
)
def test_what_cannot_be_computed_is_refused(
    make_config: MakeConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        settle_precision(make_config(**changes), is_training=True)


def test_a_config_of_a_gpu_training_evaluates_on_the_cpu(make_config: MakeConfig) -> None:
    changes = {"SOLVER.AMP.ENABLED": True, "SOLVER.AMP.DTYPE": "float16"}
    settle_precision(make_config(**changes), is_training=False)


@pytest.mark.usefixtures("float32_precision")
@pytest.mark.parametrize(("precision", "tf32"), [("highest", False), ("high", True)])
def test_precision_of_float32_acts_on_products_and_on_cudnn(
    make_config: MakeConfig, precision: str, tf32: bool
) -> None:
    settle_precision(make_config(FLOAT32_PRECISION=precision), is_training=True)
    assert torch.get_float32_matmul_precision() == precision
    assert torch.backends.cudnn.allow_tf32 == tf32


def test_precision_of_float32_is_pytorchs_own_by_default(make_config: MakeConfig) -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    settle_precision(make_config(), is_training=True)
    assert before == (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)


class Product(nn.Module):
    """Answers with the type that a product has."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))

    def forward(self, batched_inputs: Any) -> torch.dtype:
        return (self.weight @ self.weight).dtype


def test_evaluation_returns_the_model_to_its_mode(make_config: MakeConfig) -> None:
    model = Product().train()
    assert build_test_precision(make_config(), model) is model
    tested = build_test_precision(make_config(**{"TEST.PRECISION": "bfloat16"}), model)
    assert tested.training
    assert tested.eval()([]) == torch.bfloat16
    tested.train()
    assert model.training and model([]) == torch.float32


def test_the_hosts_predictors_give_float32() -> None:
    head = StandardRPNHead(in_channels=4, num_anchors=2).bfloat16()
    model = nn.Sequential(nn.Conv2d(4, 4, 1).bfloat16(), nn.Sequential(head))
    features = torch.ones(1, 4, 3, 3).bfloat16()
    plain = head([features])
    keep_predictions_in_float32(model)
    for kind, expected in zip(head([features]), plain, strict=True):
        assert [level.dtype for level in expected] == [torch.bfloat16]
        assert [level.dtype for level in kind] == [torch.float32]
        assert torch.equal(kind[0], expected[0].float())
    assert model[0](features).dtype == torch.bfloat16


def pooled_position(features: torch.Tensor, roi_align: nn.Module, x: float) -> float:
    """Pool a box of 16 pixels round x from a map whose values are their own columns."""
    box = torch.tensor([[0, x - 8, 8.0, x + 8, 24.0]])
    return roi_align(features, box).float().mean().item()


@pytest.mark.parametrize("with_autocast", [True, False])
def test_regions_are_pooled_where_the_boxes_are(with_autocast: bool) -> None:
    """Of columns 4 pixels apart; in bfloat16 the box itself would move by 4 pixels."""
    model = nn.Sequential(ROIAlign((4, 4), 0.25, 2, aligned=True))
    columns = torch.arange(200.0, 264.0) - 232  # exact in bfloat16
    features = torch.zeros(1, 1, 16, 264)
    features[..., 200:] = columns
    x = 925.3
    expected = pooled_position(features, model[0], x)
    assert expected == pytest.approx(x / 4 - 0.5 - 232, abs=0.01)
    pool_by_exact_boxes(model)
    assert pooled_position(features, model[0], x) == expected
    with torch.autocast("cpu", torch.bfloat16, enabled=with_autocast):
        found = model[0](features.bfloat16(), torch.tensor([[0, x - 8, 8.0, x + 8, 24.0]]))
    assert found.dtype == torch.bfloat16
    assert found.float().mean().item() == pytest.approx(expected, abs=0.02)


def test_log_names_the_precision(make_config: MakeConfig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "dyhead"):
        cfg = make_config(**{"SOLVER.AMP.ENABLED": True, "TEST.PRECISION": "bfloat16"})
        build_test_precision(cfg, Trainer(cfg).model)
    assert "Training in mixed precision: bfloat16" in caplog.text
    assert "Evaluating in bfloat16" in caplog.text
