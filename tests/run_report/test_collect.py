"""A report finds what a run has left; what is missing is named, with what makes it."""

import json
import math
import re
import shutil
from collections import Counter

import pytest
from PIL import Image

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
    before = collect(run, tmp_path).evaluations["made_val"][1].scores.overall
    (run / "evaluation").mkdir()
    (run / "inference").rename(run / "evaluation" / "inference")
    report = collect(run, tmp_path)
    assert report.evaluations["made_val"][1].scores.overall == before and before["AP"] > 0


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
    assert "in inference has an AP of 99.00, its detections one of" in report.missing[0]
    assert f"`dyhead eval {run}` evaluates anew" in report.missing[0]


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


def own_copy(labelled, tmp_path, change=lambda truth: None):
    """Copy the data set, with other labels to test on; return its folder and its sources."""
    folder = tmp_path / "copy"
    shutil.copytree(labelled, folder)
    content = json.loads((folder / "val.json").read_text())
    change(content)
    (folder / "val.json").write_text(json.dumps(content))
    names = [[f"made_{part}", str(folder / f"{part}.json"), str(folder)] for part in SPLITS]
    return folder, {"DATASETS.SOURCES": names}


SPLITS = ("train", "val")


def make_smaller(path):
    with Image.open(path) as picture:
        picture.resize((300, 200)).save(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            make_smaller,
            r"image size differs from its file's \(600 x 600, file 300 x 200\)",
        ),
        (lambda path: path.unlink(), "image file missing"),
        (lambda path: path.write_bytes(b"none"), "image file unreadable"),
    ],
)
def test_a_picture_that_has_changed_since_is_named_with_what_is_wrong(
    make_run, labelled, tmp_path, change, reason
):
    folder, sources = own_copy(labelled, tmp_path)
    run = make_run(**sources)
    assert collect(run, tmp_path).evaluations
    results = json.loads((run / "inference" / "coco_instances_results.json").read_text())
    images = json.loads((folder / "val.json").read_text())["images"]
    (name,) = [i["file_name"] for i in images if i["id"] == results[0]["image_id"]]
    change(folder / name)
    report = collect(run, tmp_path)
    (sentence,) = report.missing
    assert not report.evaluations
    assert re.search(
        rf"in a picture that the data set leaves out by now, {name}: {reason}", sentence
    )
    assert "coco_instances_results.json has detections" in sentence
    assert "Put the picture back as it was, or evaluate again" in sentence


def without_sizes(truth):
    for image in truth["images"]:
        del image["width"], image["height"]


def test_detections_beyond_a_picture_that_became_smaller_are_doubted(make_run, labelled, tmp_path):
    """Labels without sizes fit to a picture of any, and the detections do not."""
    folder, sources = own_copy(labelled, tmp_path, without_sizes)
    run = make_run(**sources)
    assert not collect(run, tmp_path).missing
    for image in json.loads((folder / "val.json").read_text())["images"]:
        make_smaller(folder / image["file_name"])
    (sentence,) = [each for each in collect(run, tmp_path).missing if "reach beyond" in each]
    assert "with 300 x 200 pixels, which seem to have been larger when" in sentence


@pytest.mark.parametrize(
    ("change", "lack"),
    [
        (lambda t: t.update(annotations=[]), "no annotations"),
        (lambda t: [a.update(iscrowd=1) for a in t["annotations"]], "crowds alone (its"),
    ],
)
def test_a_set_without_objects_is_said_to_have_none(make_run, labelled, tmp_path, change, lack):
    _, sources = own_copy(labelled, tmp_path, change)
    report = collect(make_run(**sources), tmp_path)
    (sentence,) = report.missing
    assert sentence.startswith(f"'made_val' has {lack}")
    assert "label its pictures, or name another set in DATASETS.TEST" in sentence


@pytest.mark.parametrize("with_data", [True, False])
def test_a_set_of_the_host_that_is_not_there_is_named(make_run, tmp_path, monkeypatch, with_data):
    monkeypatch.chdir(tmp_path)
    report = collect(make_run(**{"DATASETS.TEST": ("coco_2017_val",)}), tmp_path, with_data)
    (sentence,) = report.missing
    assert "'coco_2017_val' cannot be read" in sentence and "instances_val2017.json" in sentence
    assert not with_data or "instances_val2017.json" in report.health[0]


@pytest.mark.parametrize("value", ["fast", [0.5]])
def test_a_cost_that_is_no_number_is_named(make_run, tmp_path, value):
    run = make_run()
    (run / "inference" / "cost.json").write_text(json.dumps({"seconds_per_image": value}))
    (sentence,) = collect(run, tmp_path).missing
    assert f"cost.json has the value {value!r} for seconds_per_image, which is no" in sentence


def test_a_config_that_names_no_test_set_is_said_to(make_run, tmp_path):
    report = collect(make_run(**{"DATASETS.TEST": ()}), tmp_path)
    assert report.log is not None
    assert report.missing == ["DATASETS.TEST names no data set, so there are no scores."]


def write_losses(run, *losses):
    lines = [{"iteration": 20 * step, "total_loss": each} for step, each in enumerate(losses)]
    (run / "metrics.json").write_text("".join(json.dumps(each) + "\n" for each in lines))


def test_losses_that_are_not_finite_are_counted(make_run, tmp_path):
    run = make_run()
    write_losses(run, 3.0, math.nan, None, 2.0)
    report = collect(run, tmp_path)
    assert report.log.losses["total_loss"] == ([0, 60], [3.0, 2.0])
    assert report.missing == [
        "total_loss is not finite in 2 of 4 records of metrics.json, at first in iteration 20: its"
        " curve leaves them out."
    ]


def test_a_training_of_which_no_loss_is_finite_is_reported(make_run, tmp_path):
    run = make_run()
    write_losses(run, math.nan, math.inf)
    report = collect(run, tmp_path)
    assert report.log.steps == 21 and report.log.losses["total_loss"] == ([], [])
    assert report.missing[0].startswith("total_loss is not finite in 2 of 2 records")


@pytest.mark.parametrize("written", ["50", True, [50.0]])
def test_scores_that_are_no_number_are_doubted(make_run, tmp_path, written):
    run = make_run()
    (run / "inference" / "scores.json").write_text(json.dumps({"AP": written}))
    (sentence,) = collect(run, tmp_path).missing
    assert "scores.json of made_val in inference has an AP of" in sentence
