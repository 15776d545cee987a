"""The keys and the config of the Swin Transformer."""

import os
from pathlib import Path

import pytest

from dyhead.config import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
FILE = "dyhead_swint_atss_fpn_2x_ms.yaml"


def test_defaults_are_the_official_ones() -> None:
    cfg, _ = load_config("")
    assert dict(cfg.MODEL.SWINT) == {
        "EMBED_DIM": 96,
        "OUT_FEATURES": ["stage2", "stage3", "stage4", "stage5"],
        "DEPTHS": [2, 2, 6, 2],
        "NUM_HEADS": [3, 6, 12, 24],
        "WINDOW_SIZE": 7,
        "MLP_RATIO": 4,
        "DROP_PATH_RATE": 0.2,
        "APE": False,
        "VERSION": 1,
        "OUT_NORM": True,
        "USE_CHECKPOINT": False,
    }


def test_official_config_has_the_official_values() -> None:
    cfg, _ = load_config(str(CONFIGS / FILE))
    assert cfg.MODEL.BACKBONE.NAME == "build_retinanet_swint_fpn_dyhead_backbone"
    assert cfg.MODEL.WEIGHTS == "swin_tiny_patch4_window7_224_d2.pth"
    assert cfg.MODEL.SWINT.OUT_FEATURES == ["stage3", "stage4", "stage5"]
    assert (cfg.SOLVER.OPTIMIZER, cfg.SOLVER.BASE_LR) == ("ADAMW", 0.0001)
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER) == (32, 90000)
    assert cfg.INPUT.MIN_SIZE_TRAIN == (640, 672, 704, 736, 768, 800)


def test_is_the_official_file() -> None:
    source = os.environ.get("DYNAMICHEAD_SOURCE")
    if not source:
        pytest.skip("set DYNAMICHEAD_SOURCE to a checkout of microsoft/DynamicHead")
    official, _ = load_config(str(Path(source, "configs", FILE)))
    ours, _ = load_config(str(CONFIGS / FILE))
    assert ours == official
