"""Runs are compared number by number; those that differ in their seed alone have a spread."""

import json
import math
import statistics

import pytest

from dyhead.evaluation.run_folder import read_run_config
from dyhead.run_report.collect import collect_run
from dyhead.run_report.compare import compare
from dyhead.run_report.compared_rows import told_apart
from dyhead.safe_io.json_text import write_json


@pytest.fixture(scope="module")
def runs(make_run):
    """Three seeds, and a run with another learning rate and without curves."""
    folders = [make_run(f"seed{seed}", seed) for seed in (7, 8, 9)]
    folders.append(make_run("slow", 7, **{"SOLVER.BASE_LR": 0.5}))
    (folders[-1] / "metrics.json").unlink()
    return [collect_run(f.name, f, read_run_config(f), with_data=False) for f in folders]


def row(compared, label):
    return next(each for each in compared.rows if each.label == label)


def test_differences_are_from_the_first_run(runs):
    compared = compare(runs)
    assert list(compared.names) == ["seed7", "seed8", "seed9", "slow"]
    values = [run.evaluations["made_val"][1].scores.overall["AP"] for run in runs]
    assert row(compared, "AP").values == values
    assert row(compared, "AP").differences == [value - values[0] for value in values]
    assert values[3] == values[0] != values[1]


def test_what_a_run_lacks_is_not_a_number(runs):
    seconds = row(compare(runs), "seconds per training step")
    assert seconds.values[:3] == [0.5] * 3 and math.isnan(seconds.values[3])
    assert seconds.is_better == -1


def test_the_keys_that_differ_are_named_with_the_values_of_all(runs):
    keys = dict(compare(runs).keys)
    assert keys == {"SEED": [7, 8, 9, 7], "SOLVER.BASE_LR": [0.001, 0.001, 0.001, 0.5]}


def test_seeds_have_the_mean_and_the_deviation_of_a_sample(runs):
    compared = compare(runs)
    (group,) = compared.groups
    assert list(group.names) == ["seed7", "seed8", "seed9"]
    values = row(compared, "AP75").values[:3]
    spread = next(each for each in group.spreads if each.label == "AP75")
    assert spread.mean == pytest.approx(statistics.fmean(values))
    mean_square = sum((value - spread.mean) ** 2 for value in values) / 2
    assert spread.deviation == pytest.approx(math.sqrt(mean_square))
    assert (spread.low, spread.high, spread.number) == (min(values), max(values), 3)


def collected(*folders):
    return [collect_run(f.name, f, read_run_config(f), with_data=False) for f in folders]


def with_labels(labelled, folder, change):
    """Make a data set of the same name: other labels, and detections that fit to them."""
    truth = json.loads((labelled / "val.json").read_text())
    change(truth)
    (folder / "val.json").write_text(json.dumps(truth))
    return [[f"made_{part}", str(path), str(labelled)] for part, path in (
        ("train", labelled / "train.json"), ("val", folder / "val.json")
    )]  # fmt: skip


def rename_classes(truth):
    for category in truth["categories"]:
        category["name"] += " cell"


def rename_pictures(truth):
    """Other names of files that are there all the same."""
    for image in truth["images"]:
        image["file_name"] = image["file_name"].replace("val", "train")


def lose_an_object(truth):
    truth["annotations"] = [a for a in truth["annotations"] if not a["iscrowd"]][1:]


def move_boxes(truth):
    for annotation in truth["annotations"]:
        annotation["bbox"][0] += 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (rename_classes, "its classes are other ones"),
        (rename_pictures, "its pictures are other ones"),
        (lose_an_object, "it has other objects: "),
        (move_boxes, "the boxes of its objects are other ones"),
    ],
)
def test_other_data_of_the_same_name_is_told_and_not_compared(
    make_run, labelled, tmp_path, change, reason
):
    sources = with_labels(labelled, tmp_path, change)
    folders = [make_run("one", 7), make_run("other", 8, **{"DATASETS.SOURCES": sources})]
    compared = compare(collected(*folders))
    (sentence,) = compared.doubts
    assert sentence.startswith(f"made_val of other is not the data that it is in one ({reason}")
    for label in ("AP", "best F1", "calibration error", "peak memory in testing, GiB"):
        assert all(map(math.isfinite, row(compared, label).values)), label
        assert math.isnan(row(compared, label).differences[1]), label
    assert row(compared, "seconds per training step").differences == [0, 0]


def with_training_labels(labelled, folder, change):
    """Make a data set to train on of the same name: a copy, with other labels."""
    truth = json.loads((labelled / "train.json").read_text())
    change(truth)
    folder.mkdir()
    (folder / "train.json").write_text(json.dumps(truth))
    files = folder / "train.json", labelled / "val.json"
    names = "made_train", "made_val"
    return [[name, str(file), str(labelled)] for name, file in zip(names, files, strict=True)]


def test_training_steps_on_other_data_do_not_compare(make_run, labelled, tmp_path):
    sources = {
        name: {"DATASETS.SOURCES": with_training_labels(labelled, tmp_path / name, change)}
        for name, change in (("copy", lambda truth: None), ("other", move_boxes))
    }
    folders = [make_run("one", 7), *(make_run(n, 8, **keys) for n, keys in sources.items())]
    compared = compare(collected(*folders))
    seconds = row(compared, "seconds per training step")
    assert seconds.values == [0.5] * 3
    assert seconds.differences[:2] == [0, 0] and math.isnan(seconds.differences[2])
    (sentence,) = compared.doubts
    assert sentence == (
        f"other was trained on other data than one ({tmp_path / 'other' / 'train.json'} in the"
        f" place of {labelled / 'train.json'}): their losses and seconds per training step do not"
        " compare."
    )


def test_classes_of_one_name_are_told_apart():
    """A data set registered in Python may have such; sources that have are refused."""
    names = told_apart(["cell", "ring", "cell", "cell"])
    assert names == ["cell", "ring", "cell (2)", "cell (3)"]


def test_data_that_has_moved_is_the_same(make_run, labelled, tmp_path):
    sources = with_labels(labelled, tmp_path, lambda truth: None)
    compared = compare(
        collected(make_run("a", 7), make_run("b", 8, **{"DATASETS.SOURCES": sources}))
    )
    assert not compared.doubts
    assert row(compared, "AP").differences[1] != 0


def test_what_was_measured_on_unlike_devices_does_not_compare(make_run):
    folders = [make_run(f"run{seed}", seed) for seed in (7, 8, 9)]
    cost = {"images": 12, "device": "cuda", "seconds_per_image": 0.01, "peak_memory_gib": 0.5}
    write_json(cost, folders[1] / "inference" / "cost.json")
    compared = compare(collected(*folders))
    assert compared.doubts == [
        "Seconds per picture and peak memory on made_val were measured on cpu (run7), cuda (run8),"
        " cpu (run9): those of unlike devices do not compare."
    ]
    costs = "seconds per picture in testing", "peak memory in testing, GiB"
    for label in costs:
        first, second, third = row(compared, label).differences
        assert (first, third) == (0, 0) and math.isnan(second)
    (group,) = compared.groups
    spread = {each.label for each in group.spreads}
    assert "AP" in spread and not spread & set(costs)


def test_training_steps_of_unlike_devices_do_not_compare(make_run):
    folders = [
        make_run(f"on-{device.replace(':', '')}", 7, **{"MODEL.DEVICE": device})
        for device in ("cpu", "cuda:0", "cpu")
    ]
    compared = compare(collected(*folders))
    first, second, third = row(compared, "seconds per training step").differences
    assert (first, third) == (0, 0) and math.isnan(second)
    assert compared.doubts[0].startswith("Seconds per training step were measured on cpu (on-cpu),")


def test_each_data_set_has_its_own_cost(make_run):
    """The first set to be found is none that stands for the others."""
    folders = []
    for name, seconds in (("one", (0.1, 0.2)), ("two", (0.3, 0.5))):
        run = make_run(name, 7, **{"DATASETS.TEST": ("made_val", "made_train")})
        for dataset, second in zip(("made_val", "made_train"), seconds, strict=True):
            inference = run / "inference" / dataset
            inference.mkdir()
            (inference / "coco_instances_results.json").write_text("[]")
            cost = {"images": 12, "device": "cpu", "seconds_per_image": second}
            write_json(cost, inference / "cost.json")
        folders.append(run)
    compared = compare(collected(*folders))
    for dataset, values in (("made_val", [0.1, 0.3]), ("made_train", [0.2, 0.5])):
        assert row(compared, f"{dataset}: seconds per picture in testing").values == values


@pytest.mark.parametrize("seed", [7, -1])
def test_a_copy_is_no_other_seed(make_run, seed):
    folders = [make_run("one", seed), make_run("copy", seed), make_run("other", 8)]
    compared = compare(collected(*folders[:2]))
    assert not compared.groups
    assert compared.doubts == [
        f"The config of copy is that of one, SEED {seed} included: it does not count as another"
        " seed."
    ]
    (group,) = compare(collected(*folders)).groups
    assert list(group.names) == ["one", "other"]


def test_each_training_with_a_negative_seed_has_drawn_its_own(make_run):
    folders = [make_run(name, -1) for name in ("one", "again", "copy of one")]
    log = folders[1] / "metrics.json"
    log.write_text(log.read_text().replace('"total_loss": 5.0', '"total_loss": 4.0'))
    compared = compare(collected(*folders))
    (group,) = compared.groups
    assert list(group.names) == ["one", "again"]
    (sentence,) = compared.doubts
    assert sentence.startswith("The config of copy of one is that of one, SEED -1 included")
