"""The project's keys have the official code's names and defaults."""

from pathlib import Path

from official_code import official_checkout

from dyhead.config import add_dyhead_config, load_config
from dyhead.d2.config import get_cfg

CONFIGS = Path(__file__).parents[2] / "configs"
FILE = "dyhead_swint_atss_fpn_2x_ms.yaml"


def test_defaults_are_the_official_ones() -> None:
    cfg, explicit_keys = load_config("")
    assert explicit_keys == set()
    assert (cfg.MODEL.DYHEAD.NUM_CONVS, cfg.MODEL.DYHEAD.CHANNELS) == (6, 256)
    assert cfg.MODEL.BACKBONE.FREEZE_AT == -1
    assert cfg.MODEL.ATSS.TOPK == 9
    assert cfg.MODEL.ATSS.BBOX_REG_WEIGHTS == (10.0, 10.0, 5.0, 5.0)
    assert cfg.SOLVER.OPTIMIZER == "SGD"
    assert cfg.DATASETS.COCO_JSON == []


def test_defaults_of_swin_are_the_official_ones() -> None:
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


def test_detectron2s_keys_are_kept_but_for_two_that_the_official_code_overrides() -> None:
    host, cfg = get_cfg(), get_cfg()
    add_dyhead_config(cfg)
    assert {*host} == {*cfg} and {*host.SOLVER} < {*cfg.SOLVER} and {*host.TEST} < {*cfg.TEST}
    assert cfg.SOLVER.AMP.ENABLED is host.SOLVER.AMP.ENABLED
    assert (host.MODEL.BACKBONE.FREEZE_AT, cfg.MODEL.BACKBONE.FREEZE_AT) == (2, -1)
    assert (host.SOLVER.WEIGHT_DECAY_NORM, cfg.SOLVER.WEIGHT_DECAY_NORM) == (0.0, None)


def test_a_key_that_is_there_already_keeps_its_value() -> None:
    cfg = get_cfg()
    add_dyhead_config(cfg)
    cfg.MODEL.DYHEAD.NUM_CONVS = 3
    add_dyhead_config(cfg)
    assert cfg.MODEL.DYHEAD.NUM_CONVS == 3


def test_configs_share_no_list() -> None:
    first, _ = load_config("")
    first.MODEL.ATSS.IN_FEATURES.append("p8")
    assert load_config("")[0].MODEL.ATSS.IN_FEATURES == ["p3", "p4", "p5", "p6", "p7"]


def test_official_config_has_the_official_values() -> None:
    cfg, _ = load_config(str(CONFIGS / FILE))
    assert cfg.MODEL.BACKBONE.NAME == "build_retinanet_swint_fpn_dyhead_backbone"
    assert cfg.MODEL.WEIGHTS == "swin_tiny_patch4_window7_224_d2.pth"
    assert cfg.MODEL.SWINT.OUT_FEATURES == ["stage3", "stage4", "stage5"]
    assert (cfg.SOLVER.OPTIMIZER, cfg.SOLVER.BASE_LR) == ("ADAMW", 0.0001)
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER) == (32, 90000)
    assert cfg.INPUT.MIN_SIZE_TRAIN == (640, 672, 704, 736, 768, 800)


def test_is_the_official_file() -> None:
    official, _ = load_config(str(official_checkout() / "configs" / FILE))
    official.SOLVER.WEIGHT_DECAY_BIAS = 0.0001  # Detectron2's default, when that code was run
    ours, _ = load_config(str(CONFIGS / FILE))
    assert ours == official
