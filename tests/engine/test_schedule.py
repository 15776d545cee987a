"""A training's length in epochs, and a learning rate for another batch."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dyhead.d2.config import CfgNode
from dyhead.d2.data import DatasetCatalog
from dyhead.engine.schedule import settle_schedule
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError

MakeConfig = Callable[..., CfgNode]


def settled(cfg: CfgNode, num_images: int = 100) -> CfgNode:
    return settle_schedule(cfg, lambda _: num_images)


def test_a_config_without_these_keys_is_used_as_it_is(make_config: MakeConfig) -> None:
    cfg = make_config()
    assert settled(cfg) is cfg


def test_epochs_set_the_steps_and_keep_the_shape_of_the_schedule(make_config: MakeConfig) -> None:
    settings = {"SOLVER.MAX_ITER": 90, "SOLVER.STEPS": (60, 80), "SOLVER.IMS_PER_BATCH": 8}
    solver = settled(make_config(**settings, **{"SOLVER.EPOCHS": 9})).SOLVER
    assert solver.MAX_ITER == 113  # 900 images in batches of 8
    assert solver.STEPS == (75, 100)


@pytest.mark.parametrize(("epochs", "warm_up"), [(1, 3), (9, 20)])
def test_few_epochs_reach_the_full_rate(make_config: MakeConfig, epochs: int, warm_up: int) -> None:
    settings = {"SOLVER.WARMUP_ITERS": 20, "SOLVER.IMS_PER_BATCH": 8, "SOLVER.EPOCHS": epochs}
    solver = settled(make_config(**settings)).SOLVER  # 13 and 113 steps
    assert min(solver.WARMUP_ITERS, solver.MAX_ITER) == warm_up


@pytest.mark.parametrize(
    ("changes", "is_said"),
    [
        ({"SOLVER.WARMUP_ITERS": 40}, True),
        ({"SOLVER.WARMUP_ITERS": 39}, False),
        ({"SOLVER.WARMUP_ITERS": 40, "SOLVER.MINUTES": 1.0}, False),
        ({"SOLVER.WARMUP_ITERS": 40, "SOLVER.EPOCHS": 1}, False),
    ],
)
def test_a_warm_up_as_long_as_the_training_is_said(
    make_config: MakeConfig,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    is_said: bool,
) -> None:
    settled(make_config(**{"SOLVER.MAX_ITER": 40, **changes}))
    assert ("WARMUP_ITERS 40 leaves none" in caplog.text) == is_said


@pytest.mark.usefixtures("without_pictures")
def test_a_run_of_epochs_sees_every_image_as_often_and_records_them(
    make_config: MakeConfig,
) -> None:
    cfg = make_config(**{"SOLVER.EPOCHS": 2})
    trainer = Trainer(cfg)
    trainer.train()
    assert trainer.iter == 6  # twice six images in batches of two
    lines = Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()
    assert [r["epoch"] for r in map(json.loads, lines) if "epoch" in r] == [2.0]


@pytest.mark.parametrize("ratios", [(), (1.0,)])
@pytest.mark.parametrize("length", [{"SOLVER.EPOCHS": 2}, {"SOLVER.MINUTES": 2.0}])
def test_a_length_needs_no_set_to_be_loaded_again(
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    length: dict[str, float],
    ratios: tuple[float, ...],
) -> None:
    """Reading a large set takes minutes; this one is for training and for testing."""
    cfg = make_config(**length, **{"DATASETS.TRAIN_RATIOS": ratios})
    loaded: list[str] = []
    get = DatasetCatalog.get
    monkeypatch.setattr(DatasetCatalog, "get", lambda name: loaded.append(name) or get(name))
    Trainer(cfg)
    assert loaded == list(cfg.DATASETS.TRAIN)


def test_the_rate_grows_with_the_batch_and_the_log_says_so(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"SOLVER.BASE_LR": 0.01, "SOLVER.BASE_LR_END": 0.001, "SOLVER.IMS_PER_BATCH": 4}
    with caplog.at_level(logging.INFO, "dyhead"):
        solver = settled(make_config(**settings, **{"SOLVER.REFERENCE_BATCH_SIZE": 16})).SOLVER
    rates = solver.BASE_LR, solver.BASE_LR_END
    assert rates == pytest.approx((0.0025, 0.00025))
    assert "SOLVER.BASE_LR 0.01 is for batches of 16: with 4 it is 0.0025" in caplog.text


def test_settling_again_changes_nothing(make_config: MakeConfig) -> None:
    settings: dict[str, Any] = {"SOLVER.REFERENCE_BATCH_SIZE": 16, "SOLVER.EPOCHS": 3}
    once = settled(make_config(**settings, **{"SOLVER.STEPS": (2,)}))
    assert settled(once) == once


def test_the_trainer_uses_the_scaled_rate(make_config: MakeConfig) -> None:
    settings = {"SOLVER.BASE_LR": 0.01, "SOLVER.REFERENCE_BATCH_SIZE": 16}
    assert Trainer(make_config(**settings)).scheduler.base_lrs[0] == pytest.approx(0.01 / 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SOLVER.REFERENCE_BATCH_SIZE": 16, "SOLVER.REFERENCE_WORLD_SIZE": 1}, "already"),
        ({"SOLVER.REFERENCE_BATCH_SIZE": -1}, "REFERENCE_BATCH_SIZE is -1"),
        ({"SOLVER.EPOCHS": -1}, "EPOCHS is -1"),
    ],
)
def test_what_contradicts_itself_is_refused(
    make_config: MakeConfig, changes: dict[str, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        settled(make_config(**changes))
