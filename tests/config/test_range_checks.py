"""Every key has a range; values outside of it are refused with key, value, source and way out."""

import json
from pathlib import Path

import pytest

from dyhead.config import load_config
from dyhead.config.find import packaged_configs
from dyhead.config.load import leaf_keys
from dyhead.config.range_checks import RANGES, check_ranges
from dyhead.d2.config import CfgNode
from dyhead.errors import UserError


def write(folder: Path, text: str, name: str = "config.yaml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def refusal(config: str, opts: list[str]) -> str:
    with pytest.raises(UserError) as error:
        load_config(config, opts)
    return str(error.value)


def test_every_key_has_a_range_and_every_range_a_key() -> None:
    assert set(RANGES) == set(leaf_keys(load_config("")[0]))


@pytest.mark.parametrize("config", ["", *packaged_configs()])
def test_defaults_and_packaged_configs_lie_in_the_ranges(config: str) -> None:
    check_ranges(load_config(config)[0])


# Written down apart from the ranges: what nobody can have meant.
SENSELESS = """
SOLVER.BASE_LR -0.1
SOLVER.BASE_LR 0.0
SOLVER.BASE_LR 1e999
SOLVER.BASE_LR None
SOLVER.BASE_LR True
SOLVER.MAX_ITER 0
SOLVER.MAX_ITER -5
SOLVER.MAX_ITER 2.5
SOLVER.MAX_ITER many
SOLVER.IMS_PER_BATCH 0
SOLVER.CHECKPOINT_PERIOD 0
SOLVER.CHECKPOINT_PERIOD -1
SOLVER.MOMENTUM 1.5
SOLVER.MOMENTUM -0.1
SOLVER.WEIGHT_DECAY -1.0
SOLVER.WEIGHT_DECAY_BIAS -1.0
SOLVER.WEIGHT_DECAY_BIAS text
SOLVER.STEPS (30,20)
SOLVER.STEPS (-1,)
SOLVER.STEPS (0.5,)
SOLVER.GAMMA 0.0
SOLVER.GAMMA -1.0
SOLVER.GAMMA 2.0
SOLVER.WEIGHT_DECAY 3.0
SOLVER.OPTIMIZER []
SOLVER.LR_SCHEDULER_NAME [1,2]
MODEL.META_ARCHITECTURE {'a':1}
MODEL.ROI_MASK_HEAD.NAME ['a']
MODEL.ROI_BOX_HEAD.POOLER_TYPE Max
MODEL.DYHEAD.TASK_ATTENTION 3
MODEL.DEFORM_CONV_BACKEND []
SOLVER.WARMUP_ITERS -1
SOLVER.WARMUP_FACTOR -0.5
SOLVER.WARMUP_FACTOR 7.0
SOLVER.WARMUP_METHOD exponential
SOLVER.NUM_DECAYS -1
SOLVER.REFERENCE_WORLD_SIZE -2
SOLVER.CLIP_GRADIENTS.CLIP_TYPE everything
SOLVER.CLIP_GRADIENTS.CLIP_VALUE 0.0
SOLVER.CLIP_GRADIENTS.NORM_TYPE 0.0
SOLVER.AMP.DTYPE float8
SOLVER.NESTEROV 1
SOLVER.OPTIMIZER ""
SEED 99999999999999
SEED 1.5
OUTPUT_DIR ""
FLOAT32_PRECISION half
CUDNN_BENCHMARK maybe
VERSION 1
DATALOADER.NUM_WORKERS -1
DATALOADER.NUM_WORKERS 100000
DATALOADER.TIMEOUT -1
DATALOADER.REPEAT_THRESHOLD -0.1
DATALOADER.SAMPLER_TRAIN ""
DATASETS.TRAIN 5
DATASETS.TRAIN ("",)
DATASETS.TEST (1,)
DATASETS.TRAIN_RATIOS [0]
DATASETS.TRAIN_RATIOS [-1,2]
INPUT.MIN_SIZE_TRAIN ()
INPUT.MIN_SIZE_TRAIN (-1,)
INPUT.MIN_SIZE_TRAIN (1.5,)
INPUT.MIN_SIZE_TRAIN 800
INPUT.MIN_SIZE_TRAIN_SAMPLING often
INPUT.MAX_SIZE_TRAIN 0
INPUT.MIN_SIZE_TEST -1
INPUT.MAX_SIZE_TEST -1
INPUT.RANDOM_FLIP sideways
INPUT.FORMAT rgb
INPUT.FORMAT CMYK
INPUT.MASK_FORMAT png
INPUT.CROP.TYPE big
INPUT.CROP.SIZE [0.5]
INPUT.CROP.SIZE [0.0,0.5]
INPUT.CROP.SIZE [-1,1]
INPUT.AUG.OFF_FOR_LAST 5.0
INPUT.AUG.MIN_VISIBLE -0.1
INPUT.AUG.IOU_CROP.PROB 2.0
INPUT.AUG.IOU_CROP.MIN_SCALE 0.0
INPUT.AUG.FIXED_SIZE.SIZE (0,100)
INPUT.AUG.FIXED_SIZE.SIZE (100,)
INPUT.AUG.FIXED_SIZE.SIZE 640
INPUT.AUG.FIXED_SIZE.SCALES (0.0,1.0)
INPUT.AUG.MOSAIC.PROB -1.0
INPUT.AUG.MOSAIC.SCALES ()
INPUT.AUG.COPY_PASTE.MAX_OBJECTS 0
INPUT.AUG.MIXUP.ALPHA 0.0
INPUT.AUG.COLOR.HUE 0.6
INPUT.AUG.COLOR.BRIGHTNESS 1.5
TEST.EVAL_PERIOD -1
TEST.DETECTIONS_PER_IMAGE 0
TEST.PRECISION float64
TEST.MATCH_CLASSES order
TEST.AUG.MIN_SIZES ()
TEST.AUG.MIN_SIZES (-1,)
TEST.AUG.MAX_SIZE 0
TEST.AUG.MERGE best
TEST.AUG.IOU_THRESHOLD 1.5
TEST.AUG.VALID_SIZES [[1]]
TEST.EXPECTED_RESULTS [["bbox","AP"]]
MODEL.DEVICE ""
MODEL.BACKBONE.FREEZE_AT -2
MODEL.PIXEL_MEAN []
MODEL.PIXEL_MEAN ["a","b","c"]
MODEL.PIXEL_STD [0.0,1.0,1.0]
MODEL.PIXEL_STD [-1.0,1.0,1.0]
MODEL.RESNETS.DEPTH 49
MODEL.RESNETS.NUM_GROUPS 0
MODEL.RESNETS.WIDTH_PER_GROUP -64
MODEL.RESNETS.RES5_DILATION 3
MODEL.RESNETS.OUT_FEATURES []
MODEL.RESNETS.OUT_FEATURES [1]
MODEL.RESNETS.DEFORM_ON_PER_STAGE [True]
MODEL.FPN.OUT_CHANNELS 0
MODEL.FPN.FUSE_TYPE product
MODEL.ANCHOR_GENERATOR.SIZES []
MODEL.ANCHOR_GENERATOR.SIZES [[]]
MODEL.ANCHOR_GENERATOR.SIZES [[0]]
MODEL.ANCHOR_GENERATOR.SIZES [[-32]]
MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS [[0.0]]
MODEL.ANCHOR_GENERATOR.OFFSET 1.0
MODEL.DYHEAD.NUM_CONVS -1
MODEL.DYHEAD.CHANNELS 0
MODEL.DYHEAD.ORDER task_first
MODEL.DYHEAD.COARSER_OFFSETS guess
MODEL.DYHEAD.HARD_SIGMOID soft
MODEL.DYHEAD.OFFSET_INIT one
MODEL.DYHEAD.SIZE_DIVISIBILITY -1
MODEL.ATSS.NUM_CLASSES 0
MODEL.ATSS.IN_FEATURES []
MODEL.ATSS.TOPK 0
MODEL.ATSS.PRIOR_PROB 0.0
MODEL.ATSS.PRIOR_PROB 1.0
MODEL.ATSS.PREDICTOR_KERNEL_SIZE 2
MODEL.ATSS.BBOX_REG_WEIGHTS (1.0,1.0)
MODEL.ATSS.BBOX_REG_WEIGHTS (0.0,1.0,1.0,1.0)
MODEL.ATSS.FOCAL_LOSS_ALPHA 1.5
MODEL.ATSS.FOCAL_LOSS_GAMMA -1.0
MODEL.ATSS.REG_LOSS_WEIGHT -1.0
MODEL.ATSS.INFERENCE_TH 1.5
MODEL.ATSS.INFERENCE_TH -0.5
MODEL.ATSS.PRE_NMS_TOP_N 0
MODEL.ATSS.NMS_TH -0.1
MODEL.FCOS.CENTER_SAMPLING_RADIUS -1.0
MODEL.FCOS.LEVEL_LIMITS [128,64]
MODEL.REPPOINTS.TRANSFORM mean
MODEL.REPPOINTS.POINT_BASE_SCALE 0.0
MODEL.REPPOINTS.IOU_THRESHOLDS [0.5]
MODEL.RETINANET.IOU_LABELS [2]
MODEL.RETINANET.IOU_THRESHOLDS [0.5,0.4]
MODEL.RPN.POSITIVE_FRACTION 2.0
MODEL.RPN.CONV_DIMS [0]
MODEL.RPN.BATCH_SIZE_PER_IMAGE 0
MODEL.ROI_HEADS.POSITIVE_FRACTION -0.1
MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION 0
MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE l3
MODEL.TASK_AWARE_BOX_HEAD.NUM_BLOCKS 0
MODEL.SWINT.EMBED_DIM 0
MODEL.SWINT.DEPTHS []
MODEL.SWINT.WINDOW_SIZE 0
MODEL.SWINT.DROP_PATH_RATE 1.0
MODEL.SWINT.VERSION 2
MODEL.TIMM.DROP_PATH -0.1
MODEL.TIMM.TOP_LEVELS p8
MODEL.COMPILE.MODE fast
""".strip().splitlines()


@pytest.mark.parametrize("line", SENSELESS)
def test_a_senseless_value_is_refused_with_key_value_and_what_is_allowed(line: str) -> None:
    key, value = line.split(" ", 1)
    value = value.removeprefix('""') if value == '""' else value
    message = refusal("", [key, value])
    assert message.startswith(f"the command line: {key} can't be ")
    assert f"it has to be {RANGES[key].words}" in message


def test_the_file_that_sets_a_wrong_value_is_named_not_the_one_on_top(tmp_path: Path) -> None:
    base = write(tmp_path, "SOLVER:\n  BASE_LR: -1.0\n  MAX_ITER: 5\n", "base.yaml")
    top = write(tmp_path, "_BASE_: base.yaml\nSOLVER:\n  GAMMA: 0.5\n")
    message = refusal(top, [])
    assert message.startswith(f"{base}: SOLVER.BASE_LR can't be -1.0: it has to be a finite number")
    wrong = write(tmp_path, "_BASE_: base.yaml\nSOLVER:\n  BASE_LR: -2.0\n", "wrong.yaml")
    assert refusal(wrong, []).startswith(f"{wrong}: SOLVER.BASE_LR can't be -2.0")


def test_a_wrong_value_of_a_base_that_is_overridden_does_no_harm(tmp_path: Path) -> None:
    write(tmp_path, "SOLVER:\n  BASE_LR: -1.0\n", "base.yaml")
    top = write(tmp_path, "_BASE_: base.yaml\nSOLVER:\n  BASE_LR: 0.5\n")
    assert load_config(top)[0].SOLVER.BASE_LR == 0.5


def test_a_whole_number_serves_where_any_number_does() -> None:
    cfg, _ = load_config("", ["SOLVER.BASE_LR", "1"])
    assert cfg.SOLVER.BASE_LR == 1.0 and isinstance(cfg.SOLVER.BASE_LR, float)


@pytest.mark.parametrize("folder", ["2026", "1e3", "None", "(a)"])
def test_text_that_looks_like_something_else_stays_text_where_text_is_wanted(folder: str) -> None:
    assert folder == load_config("", ["OUTPUT_DIR", folder])[0].OUTPUT_DIR


def test_values_in_the_file_may_be_text_that_holds_a_literal(tmp_path: Path) -> None:
    file = write(tmp_path, "SOLVER:\n  STEPS: (3, 4)\n  BASE_LR: 1e-4\nOUTPUT_DIR: 'x'\n")
    cfg, _ = load_config(file)
    assert (cfg.SOLVER.STEPS, cfg.SOLVER.BASE_LR, cfg.OUTPUT_DIR) == ((3, 4), 1e-4, "x")


@pytest.mark.parametrize(
    "text", ["SOLVER:\n  BASE_LR: {}\n", "SOLVER:\n  BASE_LR:\n", "SOLVER:\n  BASE_LR: [1]\n"]
)
def test_a_value_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    file = write(tmp_path, text)
    assert refusal(file, []).startswith(f"{file}: SOLVER.BASE_LR can't be ")


def test_a_config_made_in_code_is_checked_too() -> None:
    cfg, _ = load_config("")
    cfg.SOLVER.IMS_PER_BATCH = -4
    with pytest.raises(UserError, match="SOLVER.IMS_PER_BATCH can't be -4: it has to be a whole"):
        check_ranges(cfg)


def test_keys_of_other_projects_and_missing_ones_are_left_alone() -> None:
    cfg = CfgNode({"OTHER": {"KEY": -1}, "SOLVER": {"OTHER_RATE": -1}})
    check_ranges(cfg)


def test_a_long_value_is_cut_short_in_the_sentence() -> None:
    message = refusal("", ["SOLVER.STEPS", json.dumps(list(range(500, 0, -1)))])
    assert len(message) < 300 and "..." in message
