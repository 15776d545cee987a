"""A run is known by its config, and what its evaluations left is found wherever the run lies."""

import shutil

import pytest

from dyhead.config import load_config
from dyhead.errors import UserError
from dyhead.evaluation.run_folder import (
    evaluation_folder,
    inference_folder,
    is_run,
    read_run_config,
)


@pytest.fixture
def run(tmp_path):
    cfg, _ = load_config("quickstart")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(cfg.dump())
    return folder


def leave(folder):
    folder.mkdir(parents=True)
    (folder / "coco_instances_results.json").write_text("[]")
    return folder


def test_a_run_that_was_moved_is_read_where_it_is(run, tmp_path):
    moved = tmp_path / "moved"
    shutil.move(run, moved)
    assert is_run(moved) and not is_run(run)
    assert inference_folder(read_run_config(moved), "shapes_val") == str(moved / "inference")
    with pytest.raises(UserError, match=r"run.config\.yaml does not exist"):
        read_run_config(run)


def test_several_test_sets_have_a_folder_each(run):
    cfg = read_run_config(run)
    cfg.DATASETS.TEST = ("one", "two")
    assert inference_folder(cfg, "two") == str(run / "inference" / "two")
    later = leave(run / "evaluation" / "inference" / "two")
    assert evaluation_folder(cfg, "two", run) == later
    assert evaluation_folder(cfg, "one", run) == run / "inference" / "one"


def test_the_run_s_own_evaluation_is_preferred_where_it_has_all_files(run):
    cfg = read_run_config(run)
    later, own = (leave(run / name) for name in ("evaluation/inference", "inference"))
    assert evaluation_folder(cfg, "shapes_val", run) == own
    (later / "cost.json").write_text("{}")
    wanted = "coco_instances_results.json", "cost.json"
    assert evaluation_folder(cfg, "shapes_val", run, wanted) == later
    (own / "cost.json").write_text("{}")
    assert evaluation_folder(cfg, "shapes_val", run, wanted) == own
