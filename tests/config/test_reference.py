"""The reference of keys agrees with the configs, and docs/config_keys.md with it."""

from pathlib import Path

import pytest

from dyhead.config import load_config
from dyhead.config.find import packaged_configs
from dyhead.config.load import leaf_keys, value_of
from dyhead.config.reference import (
    all_keys,
    differences,
    explain,
    format_reference,
    list_configs,
    setting_configs,
)
from dyhead.d2 import HOST
from dyhead.errors import UserError

PROJECT = Path(__file__).parents[2]


def test_keys_and_defaults_are_those_of_an_empty_config() -> None:
    cfg, _ = load_config("")
    assert [key.name for key in all_keys()] == list(leaf_keys(cfg))
    assert all(key.default == value_of(cfg, key.name) for key in all_keys())


def test_own_keys_are_told_from_detectron2s() -> None:
    own = {key.name for key in all_keys() if key.is_own}
    assert {"MODEL.DYHEAD.NUM_CONVS", "MODEL.FPN.RELU_BEFORE_P7", "SOLVER.OPTIMIZER"} <= own
    assert not own & {"SOLVER.BASE_LR", "MODEL.BACKBONE.FREEZE_AT", "TEST.AUG.ENABLED"}


@pytest.mark.skipif(HOST == "detectron2", reason="it has other keys")
def test_the_document_is_not_stale() -> None:
    text = (PROJECT / "docs" / "config_keys.md").read_text(encoding="utf-8")
    assert text == format_reference(), "run `make config-keys`"


def test_the_document_has_a_row_for_every_key() -> None:
    rows = [line.split(" | ") for line in format_reference().splitlines() if line.startswith("| ")]
    names = [row[0].strip("| *") for row in rows]
    assert sorted({*names} - {"key", "---"}) == sorted(key.name for key in all_keys())
    assert all(len(row) == 4 for row in rows)


def test_a_key_is_explained() -> None:
    text = explain("MODEL.DYHEAD.NUM_CONVS")
    assert text.startswith("MODEL.DYHEAD.NUM_CONVS (default: 6)\n  Number of blocks.")
    assert "dyhead/modeling/backbone/dyhead.py:" in text
    assert "  Base-small.yaml: 2\n" in text and "quickstart.yaml" not in text


def test_a_key_that_nothing_reads_or_sets_is_explained_too() -> None:
    text = explain("GLOBAL.HACK")
    assert "Nothing in the package reads it." in text and "No packaged config sets it." in text


def test_values_that_configs_write_as_text_are_shown_as_they_are_used() -> None:
    assert "dyhead_swinl_atss_fpn_2x_ms_large.yaml: (480, 1200)" in explain("INPUT.MIN_SIZE_TRAIN")


def test_a_group_is_explained_by_its_keys() -> None:
    text = explain("MODEL.COMPILE")
    assert [line for line in text.splitlines() if not line.startswith(" ")] == [
        "MODEL.COMPILE.ENABLED (default: False)",
        "MODEL.COMPILE.MODE (default: 'default')",
    ]


def test_unknown_keys_are_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean SOLVER.BASE_LR"):
        explain("SOLVER.BASE_LRR")


@pytest.mark.parametrize("name", ["MODEL.ATSS.NUM_CONVS", "SOLVER.MAX_ITER", "DATASETS.COCO_JSON"])
def test_setting_configs_are_those_whose_file_sets_the_key(name: str) -> None:
    found = dict(setting_configs(name))
    assert found
    for config in packaged_configs():
        _, explicit_keys = load_config(config)
        assert config not in found or name in explicit_keys
    last_part = f"{name.rpartition('.')[2]}:"
    for config in found:
        assert last_part in (PROJECT / "configs" / config).read_text()


def test_the_list_has_a_line_for_every_config_but_bases() -> None:
    names = {name for name, _ in list_configs()}
    files = {name.removesuffix(".yaml") for name in packaged_configs()}
    assert names == {name for name in files if "Base-" not in name}
    assert dict(list_configs())["quickstart"].startswith("The smallest run")


def test_differences_are_the_overrides() -> None:
    cfg, _ = load_config("quickstart")
    other, _ = load_config("quickstart", ["SEED", "5", "MODEL.DYHEAD.NUM_CONVS", "6"])
    assert sorted(differences(cfg, other)) == [("MODEL.DYHEAD.NUM_CONVS", 2, 6), ("SEED", 1, 5)]
    assert differences(cfg, cfg) == []
