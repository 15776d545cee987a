"""A config that a run writes says from which file it was made, and loads as it did."""

import json

import pytest

from dyhead.config import load_config
from dyhead.config.find import packaged_folder
from dyhead.config.origin import Origin, find_origin, origin_comment, read_origin


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


@pytest.fixture
def own(tmp_path):
    """A user's file on top of another one, on top of a packaged config."""
    below = f"_BASE_: {packaged_folder() / 'own_dataset.yaml'}\nSOLVER: {{MAX_ITER: 7}}\n"
    write(tmp_path, "lab.yaml", below)
    return write(tmp_path, "cells.yaml", "_BASE_: lab.yaml\nSEED: 3\n")


def written(folder, config_file):
    """Write what a run made from a file writes."""
    cfg, _ = load_config(config_file)
    return write(folder, "config.yaml", origin_comment(find_origin(config_file)) + cfg.dump()), cfg


def test_the_packaged_ancestor_of_a_user_s_file_is_found_through_its_bases(own):
    assert find_origin(own) == Origin("cells.yaml", "own_dataset.yaml")


def test_a_packaged_config_is_its_own_ancestor():
    file = packaged_folder() / "quickstart.yaml"  # it has a base, too
    assert find_origin(file) == Origin("configs/quickstart.yaml", "quickstart.yaml")


def test_what_a_run_writes_loads_as_before_and_passes_the_record_on(own, tmp_path):
    path, cfg = written(tmp_path, own)
    assert path.read_text().startswith(
        "# made from cells.yaml, on top of configs/own_dataset.yaml\n"
    )
    assert json.dumps(load_config(path)[0]) == json.dumps(cfg)
    assert read_origin(path) == find_origin(path) == find_origin(own)
    on_top = write(tmp_path, "more.yaml", "_BASE_: config.yaml\nSEED: 4\n")
    assert find_origin(on_top) == Origin("more.yaml", "own_dataset.yaml")


def test_the_record_of_a_packaged_config_is_read_again(tmp_path):
    path, _ = written(tmp_path, packaged_folder() / "quickstart.yaml")
    assert path.read_text().startswith("# made from configs/quickstart.yaml\n")
    assert read_origin(path) == Origin("configs/quickstart.yaml", "quickstart.yaml")


def test_a_file_without_a_packaged_base_is_named_alone(tmp_path):
    path = write(tmp_path, "mine.yaml", "SEED: 3\n")
    assert find_origin(path) == Origin("mine.yaml", "")
    assert origin_comment(find_origin(path)) == "# made from mine.yaml\n"


def test_of_several_bases_the_last_one_decides(tmp_path):
    bases = [str(packaged_folder() / f"{name}.yaml") for name in ("quickstart", "own_dataset")]
    path = write(tmp_path, "mine.yaml", f"_BASE_: {bases}\n")
    assert find_origin(path) == Origin("mine.yaml", "own_dataset.yaml")


@pytest.mark.parametrize("text", ["", "SEED: 3\n", "# Made by hand.\nSEED: 3\n"])
def test_without_a_record_nothing_is_read(tmp_path, text):
    assert read_origin(write(tmp_path, "config.yaml", text)) is None


@pytest.mark.parametrize("base", ["configs/gone.yaml", "configs/../setup.yaml"])
def test_only_packaged_configs_that_are_there_are_read_as_bases(tmp_path, base):
    path = write(tmp_path, "config.yaml", f"# made from a.yaml, on top of {base}\n")
    origin = read_origin(path)
    assert origin is not None and origin.base == ""


def test_the_record_stays_one_line(tmp_path):
    path = write(tmp_path, "two\nlines.yaml", "SEED: 3\n")
    assert origin_comment(find_origin(path)) == "# made from two?lines.yaml\n"


def test_a_file_that_cannot_be_read_has_no_origin(tmp_path):
    assert find_origin(tmp_path / "gone.yaml") is None
    assert find_origin(write(tmp_path, "lost.yaml", "_BASE_: gone.yaml\n")) is None
    assert find_origin(write(tmp_path, "circle.yaml", "_BASE_: circle.yaml\n")) is None
