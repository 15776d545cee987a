"""A run is known by its config, and what its evaluations left is found wherever the run lies."""

import os
import shutil

import pytest

from dyhead.config import load_config
from dyhead.errors import UserError
from dyhead.evaluation.original_ids import RESULTS_NAME
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
    (folder / RESULTS_NAME).write_text("[]")
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


def test_of_two_whole_evaluations_the_newer_one_is_taken(run):
    cfg = read_run_config(run)
    own, later = (leave(run / name) for name in ("inference", "evaluation/inference"))
    for times in ((1, 2), (2, 1)):
        for folder, time in zip((own, later), times, strict=True):
            os.utime(folder / RESULTS_NAME, (time, time))
        assert evaluation_folder(cfg, "shapes_val", run) == (own, later)[times.index(2)]
    (later / "cost.json").write_text("{}")
    assert evaluation_folder(cfg, "shapes_val", run, (RESULTS_NAME, "cost.json")) == later
    (own / "cost.json").write_text("{}")
    os.utime(later / "cost.json", (9, 9))  # the time is that of the results
    assert evaluation_folder(cfg, "shapes_val", run, (RESULTS_NAME, "cost.json")) == own
