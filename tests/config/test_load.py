"""Files and overrides that `load_config` accepts, and its answers to all others."""

import json
from pathlib import Path

import pytest

from dyhead.config import load_config
from dyhead.d2.config import CfgNode, get_cfg
from dyhead.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"


def write(folder: Path, text: str, name: str = "config.yaml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_file_and_overrides_are_merged_and_reported_as_explicit(tmp_path: Path) -> None:
    file = write(tmp_path, "SOLVER:\n  BASE_LR: 0.5\nDATASETS:\n  TRAIN: ('mine',)\n")
    cfg, explicit_keys = load_config(file, ["SOLVER.MAX_ITER", "7"])
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER, cfg.DATASETS.TRAIN) == (0.5, 7, ("mine",))
    assert explicit_keys == {"SOLVER.BASE_LR", "SOLVER.MAX_ITER", "DATASETS.TRAIN"}


def test_base_file_is_merged_first(tmp_path: Path) -> None:
    write(tmp_path, "SOLVER:\n  BASE_LR: 0.5\n  MAX_ITER: 3\n", "base.yaml")
    cfg, explicit_keys = load_config(write(tmp_path, "_BASE_: base.yaml\nSOLVER:\n  MAX_ITER: 9\n"))
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER) == (0.5, 9)
    assert explicit_keys == {"SOLVER.BASE_LR", "SOLVER.MAX_ITER"}


def test_official_tag_of_plain_arithmetic_loads(tmp_path: Path) -> None:
    tag = '!!python/object/apply:eval ["[[x*2,] for x in [32, 64]]"]'
    cfg, _ = load_config(write(tmp_path, f"MODEL:\n  ANCHOR_GENERATOR:\n    SIZES: {tag}\n"))
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES == [[64], [128]]


def test_executable_tag_is_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    file = write(tmp_path, f'OUTPUT_DIR: !!python/object/apply:os.mkdir ["{mark}"]\n')
    with pytest.raises(UserError, match="OUTPUT_DIR"):
        load_config(file)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("SOLVER.BASE_LRR", "SOLVER.BASE_LR"),
        ("MODEL.DYHEAD.CHANNEL", "MODEL.DYHEAD.CHANNELS"),
        ("MAX_ITER", "SOLVER.MAX_ITER"),
        ("solver.max_iter", "SOLVER.MAX_ITER"),
        ("MODEL.ATSS", "MODEL.ATSS.BBOX_REG_LOSS_TYPE"),
    ],
)
def test_unknown_key_is_answered_with_the_nearest(unknown: str, nearest: str) -> None:
    with pytest.raises(UserError, match="the command line") as error:
        load_config("", [unknown, "1"])
    assert unknown in str(error.value) and nearest in str(error.value)


def test_unknown_key_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "MODEL:\n  DYHAED:\n    CHANNELS: 8\n")
    with pytest.raises(UserError) as error:
        load_config(file)
    assert file in str(error.value) and "MODEL.DYHEAD.CHANNELS" in str(error.value)


def test_official_keys_without_effect_are_left_out_of_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path, "MODEL:\n  ATSS:\n    IOU_LABELS: [0, -1, 1]\n    TOPK: 5\n")
    with caplog.at_level("WARNING", logger="dyhead.config.load"):
        cfg, keys = load_config(file)
    assert cfg.MODEL.ATSS.TOPK == 5 and keys == {"MODEL.ATSS.TOPK"}
    assert "MODEL.ATSS.IOU_LABELS has no effect" in caplog.text


def test_official_keys_without_effect_may_stand_alone(tmp_path: Path) -> None:
    keys = "    IOU_LABELS: [0, 1]\n    IOU_THRESHOLDS: [0.5]\n"
    assert load_config(write(tmp_path, f"MODEL:\n  ATSS:\n{keys}"))[1] == set()


def test_official_keys_without_effect_are_refused_on_the_command_line() -> None:
    with pytest.raises(UserError, match="no effect"):
        load_config("", ["MODEL.ATSS.IOU_LABELS", "[0, 1]"])


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["SOLVER.MAX_ITER=3"], "KEY VALUE"),
        (["SOLVER.MAX_ITER", "many"], "SOLVER.MAX_ITER can't be 'many': .* whole number"),
        (["DATASETS.TRAIN", "mine"], r"TRAIN \"\("),
        (["DATASETS.COCO_JSON", "mine.json"], "my_train"),
        (["DATASETS.COCO_JSON", "[[mine"], "my_train"),
    ],
)
def test_bad_overrides_get_one_sentence(opts: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config("", opts)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent.yaml"):
        load_config(str(tmp_path / "absent.yaml"))


def test_old_config_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="VERSION 1"):
        load_config(write(tmp_path, "VERSION: 1\n"))


def test_dumped_config_loads_to_the_same(tmp_path: Path) -> None:
    cfg, _ = load_config(str(CONFIGS / "quickstart.yaml"), ["SOLVER.WEIGHT_DECAY_BIAS", "0.1"])
    again, _ = load_config(write(tmp_path, cfg.dump()))
    assert json.dumps(again) == json.dumps(cfg)  # as lists: nested tuples come back as lists


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_loads_without_executable_tags(file: Path) -> None:
    cfg, _ = load_config(str(file))
    assert isinstance(cfg, CfgNode)
    assert "!!" not in file.read_text()


def test_official_atss_config_has_the_official_values() -> None:
    cfg, _ = load_config(str(CONFIGS / "dyhead_r50_atss_fpn_1x.yaml"))
    assert [[x * 2] for x in (32, 64, 128, 256, 512)] == cfg.MODEL.ANCHOR_GENERATOR.SIZES
    assert cfg.SOLVER.STEPS == (60000, 80000)
    assert cfg.SOLVER.IMS_PER_BATCH == 16
    assert cfg.MODEL.ATSS.NUM_CONVS == 0
    assert cfg.MODEL.BACKBONE.NAME == "build_retinanet_resnet_fpn_dyhead_backbone"
    assert cfg.INPUT.MIN_SIZE_TRAIN == get_cfg().INPUT.MIN_SIZE_TRAIN


@pytest.mark.parametrize(
    "text", ["[[pets, my data/a.json, images]]", '[["pets", "my data/a.json", "images"]]']
)
def test_data_sets_on_the_command_line_need_no_quotes(text):
    cfg, _ = load_config("", ["DATASETS.COCO_JSON", text])
    assert cfg.DATASETS.COCO_JSON == [["pets", "my data/a.json", "images"]]


def test_sources_on_the_command_line_need_no_quotes_either():
    cfg, _ = load_config("", ["DATASETS.SOURCES", "[[a, my data/data.yaml#val], [b, voc, images]]"])
    assert cfg.DATASETS.SOURCES == [["a", "my data/data.yaml#val"], ["b", "voc", "images"]]
