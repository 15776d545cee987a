"""The paper's Table 1 (which attentions) and Table 2 (how many blocks), each row by override."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from attention_variants import VARIANTS
from small_backbone import SMALL_BACKBONE

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.d2.config import CfgNode
from dyhead.engine.trainer import Trainer
from dyhead.layers import DyHeadBlock

SMALL_ATSS = {
    "MODEL.META_ARCHITECTURE": "ATSS",
    **SMALL_BACKBONE,
    "MODEL.FPN.NORM": "GN",
    "MODEL.ATSS.NUM_CONVS": 0,
    "MODEL.ATSS.CHANNELS": 64,
    "SOLVER.MAX_ITER": 10,
    "SOLVER.CHECKPOINT_PERIOD": 1000,
}
MakeConfig = Callable[..., CfgNode]


def train_ten_steps(make_config: MakeConfig, **changes: Any) -> Trainer:
    """Train, and check that it ended with finite losses, gradients everywhere and an evaluation."""
    cfg = make_config(**SMALL_ATSS, **changes)
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    without_gradient = [
        name
        for name, parameter in trainer.model.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert not without_gradient
    last = json.loads(Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()[-1])
    assert 0 <= last["bbox/AP"] <= 100 or last["bbox/AP"] != last["bbox/AP"]
    return trainer


def tower_depth(model: Any) -> int:
    return sum(isinstance(layer, torch.nn.Conv2d) for layer in model.head.cls_tower)


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize(("scale", "spatial", "task"), list(product((True, False), repeat=3)))
def test_table_1(make_config: MakeConfig, scale: bool, spatial: bool, task: bool) -> None:
    trainer = train_ten_steps(
        make_config,
        **{
            "MODEL.DYHEAD.NUM_CONVS": 2,
            "MODEL.DYHEAD.SCALE_AWARE": scale,
            "MODEL.DYHEAD.SPATIAL_AWARE": spatial,
            "MODEL.DYHEAD.TASK_AWARE": task,
        },
    )
    names = [name for name, _ in trainer.model.named_parameters()]
    assert any("scale_attention" in name for name in names) == scale
    assert any("offset_and_mask" in name for name in names) == spatial
    assert any("task_attention" in name for name in names) == task
    is_baseline = not (scale or spatial or task)
    blocks = [part for part in trainer.model.modules() if isinstance(part, DyHeadBlock)]
    assert len(blocks) == (0 if is_baseline else 2)
    assert tower_depth(trainer.model) == (4 if is_baseline else 0)


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("num_blocks", [0, 1, 2, 4, 6, 8, 10])
def test_table_2(make_config: MakeConfig, num_blocks: int) -> None:
    trainer = train_ten_steps(make_config, **{"MODEL.DYHEAD.NUM_CONVS": num_blocks})
    blocks = [part for part in trainer.model.modules() if isinstance(part, DyHeadBlock)]
    assert len(blocks) == num_blocks
    assert tower_depth(trainer.model) == (4 if num_blocks == 0 else 0)


@pytest.mark.usefixtures("without_pictures")
def test_attentions_of_ones_own(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    for table, variant in VARIANTS.values():
        monkeypatch.setitem(table, variant.__name__, variant)
    names = {role: variant.__name__ for role, (_, variant) in VARIANTS.items()}
    keys = {f"MODEL.DYHEAD.{role.upper()}": name for role, name in names.items()}
    trainer = train_ten_steps(make_config, **keys, **{"MODEL.DYHEAD.NUM_CONVS": 2})
    blocks = [part for part in trainer.model.modules() if isinstance(part, DyHeadBlock)]
    for block in blocks:
        assert {role: type(getattr(block, role)).__name__ for role in VARIANTS} == names
    assert len(blocks) == 2
