"""A report finds what a run has left; what is missing is named, with what makes it."""

import json
import math
from collections import Counter

import pytest

from dyhead.config import load_config
from dyhead.config.find import packaged_folder
from dyhead.config.origin import find_origin, origin_comment
from dyhead.evaluation.measures.error_kinds import ErrorKind
from dyhead.evaluation.run_folder import read_run_config
from dyhead.run_report.collect import collect_run


def collect(run, tmp_path, with_data=False):
    cfg = read_run_config(run)
    cfg.OUTPUT_DIR = str(tmp_path)
    return collect_run("run", run, cfg, with_data)


def test_what_is_missing_is_named_with_what_makes_it(make_run, tmp_path):
    run = make_run()
    (run / "metrics.json").unlink()
    (run / "inference" / "cost.json").unlink()
    report = collect(run, tmp_path)
    assert report.log is None
    missing = " ".join(report.missing)
    assert "metrics.json is missing: a training leaves it" in missing
    assert (
        "cost.json of made_val is missing in inference, with seconds per picture and memory:"
        " `dyhead eval" in missing
    )


def test_without_detections_the_curves_are_reported(make_run, tmp_path):
    run = make_run()
    (run / "inference" / "coco_instances_results.json").unlink()
    report = collect(run, tmp_path)
    assert report.evaluations == {}
    assert f"`dyhead eval {run}` makes it" in report.missing[0]


def test_detections_of_a_later_evaluation_are_found(make_run, tmp_path):
    run = make_run()
    (run / "evaluation").mkdir()
    (run / "inference").rename(run / "evaluation" / "inference")
    report = collect(run, tmp_path)
    assert report.evaluations["made_val"][1].scores.overall["AP"] > 0


def test_cost_and_detections_are_of_one_evaluation(make_run, tmp_path):
    """A later evaluation may be of other weights, or on another device."""
    run = make_run()
    own, later = run / "inference", run / "evaluation" / "inference"
    later.mkdir(parents=True)
    (own / "cost.json").rename(later / "cost.json")
    report = collect(run, tmp_path)
    files, measured = report.evaluations["made_val"]
    assert files.folder == "inference" and not files.cost and measured.scores.overall["AP"] > 0
    assert "cost.json of made_val is missing in inference," in report.missing[0]
    (later / "coco_instances_results.json").write_text("[]")
    report = collect(run, tmp_path)
    files, measured = report.evaluations["made_val"]
    assert files.folder == "evaluation/inference" and files.cost["seconds_per_image"] == 0.25
    assert measured.scores.overall["AP"] == 0 and not report.missing
    (later / "cost.json").rename(own / "cost.json")
    (own / "coco_instances_results.json").unlink()
    report = collect(run, tmp_path)
    files, _ = report.evaluations["made_val"]
    assert files.folder == "evaluation/inference" and not files.cost


def test_scores_of_other_detections_are_doubted(make_run, tmp_path):
    run = make_run()
    (run / "inference" / "scores.json").write_text('{"AP": 99.0}')
    report = collect(run, tmp_path)
    assert "has an AP of 99.00, its detections one of" in report.missing[0]


def test_a_detector_that_finds_nothing_is_reported(make_run, tmp_path):
    run = make_run()
    (run / "inference" / "coco_instances_results.json").write_text("[]")
    report = collect(run, tmp_path)
    measured = report.evaluations["made_val"][1]
    assert measured.scores.overall["AP"] == 0
    assert math.isnan(measured.calibration.error)
    assert measured.costs.kinds[ErrorKind.MISSED].count == measured.num_objects.sum()


def test_the_config_differs_from_the_packaged_one_in_what_was_set(make_run, tmp_path):
    report = collect(make_run("run", 7, **{"SOLVER.MAX_ITER": 60}), tmp_path)
    assert report.difference.base == "quickstart"
    keys = {key for key, _, _ in report.difference.keys}
    assert {"SOLVER.MAX_ITER", "SEED"} <= keys <= {
        "SOLVER.MAX_ITER", "SEED", "DATASETS.SOURCES", "DATASETS.TRAIN", "DATASETS.TEST"
    }  # fmt: skip


def test_a_user_s_file_is_compared_with_the_packaged_config_below_it(make_run, tmp_path):
    """Not with the one that happens to have the most values in common."""
    own = tmp_path / "cells.yaml"
    own.write_text(f"_BASE_: {packaged_folder() / 'own_dataset.yaml'}\n")
    run = make_run()  # of the quickstart's values
    config = run / "config.yaml"
    config.write_text(origin_comment(find_origin(own)) + config.read_text())
    difference = collect(run, tmp_path).difference
    assert (difference.base, difference.file) == ("own_dataset", "cells.yaml")
    assert difference.is_recorded
    base, cfg = load_config("own_dataset")[0], read_run_config(run)
    assert ("INPUT.MIN_SIZE_TRAIN", base.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN) in (
        difference.keys
    )


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("", ""),
        ("# made from a.yaml\n", "a.yaml"),
        ("# made from configs/gone.yaml\n", "configs/gone.yaml"),
    ],
)
def test_without_a_packaged_config_below_it_the_nearest_one_is_taken(
    make_run, tmp_path, line, file
):
    run = make_run()
    (run / "config.yaml").write_text(line + (run / "config.yaml").read_text())
    difference = collect(run, tmp_path).difference
    assert (difference.base, difference.file) == ("quickstart", file)
    assert not difference.is_recorded


def test_the_data_is_described_in_ten_lines(make_run, tmp_path):
    report = collect(make_run(), tmp_path, with_data=True)
    assert 4 <= len(report.health) <= 10
    assert report.health[0].startswith("made_train: 12 pictures")
    assert any(line.startswith("Boxes of made_train by the level") for line in report.health)


def test_all_training_sets_are_described_together(make_run, labelled, tmp_path):
    content = json.loads((labelled / "train.json").read_text())
    renamed = {each["id"]: each["name"] for each in content["categories"]}
    (first, *_) = renamed
    more = [each for each in content["annotations"] if each["category_id"] == first]
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**content, "annotations": more}))
    run = make_run(
        **{
            "DATASETS.SOURCES": [
                ["made_train", str(labelled / "train.json"), str(labelled)],
                ["made_more", str(other), str(labelled)],
                ["made_val", str(labelled / "val.json"), str(labelled)],
            ],
            "DATASETS.TRAIN": ("made_train", "made_more"),
        }
    )
    health = collect(run, tmp_path, with_data=True).health
    assert [line.split(":")[0] for line in health[:3]] == ["made_train", "made_more", "made_val"]
    (balance,) = [line for line in health if line.startswith("Of the boxes of")]
    (sizes,) = [line for line in health if line.startswith("Boxes of")]
    for line in (balance, sizes):
        assert "of made_train and made_more together" in line
    labels = [*content["annotations"], *more]
    boxes = Counter(each["category_id"] for each in labels if not each["iscrowd"])
    (most, number), *_ = boxes.most_common()
    assert f"{100 * number / boxes.total():.0f}% are {renamed[most]}" in balance


def test_ten_lines_describe_many_sets_and_end_with_their_boxes(make_run, labelled, tmp_path):
    names = [f"made_{number}" for number in range(6)]
    file = str(labelled / "train.json")
    run = make_run(
        **{
            "DATASETS.SOURCES": [[name, file, str(labelled)] for name in names],
            "DATASETS.TRAIN": tuple(names[:5]),
            "DATASETS.TEST": (names[5],),
        }
    )
    health = collect(run, tmp_path, with_data=True).health
    assert len(health) <= 10
    assert [line.split(":")[0] for line in health[:6]] == names
    assert any(line.startswith("Boxes of the 5 training sets together") for line in health)


def test_scores_that_are_no_table_are_named(make_run, tmp_path):
    run = make_run()
    (run / "inference" / "scores.json").write_text("[1]")
    report = collect(run, tmp_path)
    assert any("scores.json is no table of names and values" in each for each in report.missing)
