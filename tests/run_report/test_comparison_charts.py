"""Runs of the same data are drawn together, and those of other data are not."""

import json

import pytest
from matplotlib.figure import Figure

from dyhead.evaluation.run_folder import read_run_config
from dyhead.run_report.collect import collect_run
from dyhead.run_report.compare import compare
from dyhead.run_report.comparison_charts import comparison_charts


def drawn(*folders) -> dict[str, list[str]]:
    """Return the runs that each chart's legend names."""
    runs = [collect_run(f.name, f, read_run_config(f), with_data=False) for f in folders]
    found = {}
    for chart in comparison_charts(runs, compare(runs).data):
        axes = Figure().subplots()
        chart.draw(axes)
        found[chart.name] = [text.get_text() for text in axes.get_legend().get_texts()]
    return found


@pytest.fixture
def other_data(labelled, tmp_path):
    """Sources of the same names whose labels are others."""
    sources = []
    for part in ("train", "val"):
        content = json.loads((labelled / f"{part}.json").read_text())
        for annotation in content["annotations"]:
            annotation["bbox"][0] += 3
        path = tmp_path / f"{part}.json"
        path.write_text(json.dumps(content))
        sources.append([f"made_{part}", str(path), str(labelled)])
    return {"DATASETS.SOURCES": sources}


OF_ALL = {"loss", "ap", "ap-by-iou-made_val", "errors-made_val"}


def test_each_group_of_runs_has_charts_of_its_own(make_run, other_data):
    runs = make_run("a"), make_run("b", 8), make_run("c", 9)
    others = make_run("x", **other_data), make_run("y", 8, **other_data)
    charts = drawn(runs[0], others[0], runs[1], others[1], runs[2])
    for prefix, names in (("runs", ["a", "b", "c"]), ("runs2", ["x", "y"])):
        own = {name.partition("-")[2] for name in charts if name.partition("-")[0] == prefix}
        assert own == OF_ALL
        assert all(charts[f"{prefix}-{kind}"] == names for kind in OF_ALL)
    assert len(charts) == 2 * len(OF_ALL)


def test_runs_of_which_no_two_have_the_same_data_are_not_drawn_together(make_run, other_data):
    assert drawn(make_run("a"), make_run("x", **other_data)) == {}


def test_runs_that_differ_in_the_data_that_they_are_tested_on_share_their_losses_alone(
    make_run, other_data
):
    train, val = other_data["DATASETS.SOURCES"]
    run = make_run("a")
    own_train = read_run_config(run).DATASETS.SOURCES[0]
    other = make_run("b", **{"DATASETS.SOURCES": [own_train, val]})
    assert drawn(run, other) == {"runs-loss": ["a", "b"]}


def test_precisions_by_step_are_of_one_data_set(make_run):
    """The names of two sets do not mix, in whatever order a log has them."""
    tests = {"DATASETS.TEST": ("made_val", "made_train")}
    folders = [make_run("one", **tests), make_run("two", 8, **tests)]
    for folder, sets in zip(folders, (("made_val",), ("made_train", "made_val")), strict=True):
        record = {"iteration": 60, **{f"{name}/bbox/AP": 30.0 for name in sets}}
        with (folder / "metrics.json").open("a") as file:
            file.write(json.dumps(record) + "\n")
    charts = {name: runs for name, runs in drawn(*folders).items() if "-ap-made" in name}
    assert charts == {"runs-ap-made_val": ["one", "two"], "runs-ap-made_train": ["two"]}


def test_without_an_evaluation_the_configs_tell_what_was_tested(make_run, other_data):
    folders = [make_run("a"), make_run("b", 8), make_run("x", 9, **other_data)]
    (folders[1] / "inference" / "coco_instances_results.json").unlink()
    assert drawn(*folders) == {"runs-loss": ["a", "b"], "runs-ap": ["a", "b"]}


def test_a_run_has_the_same_colour_in_all_charts(make_run):
    folders = [make_run("a"), make_run("b", 8), make_run("c", 9)]
    (folders[0] / "metrics.json").unlink()
    runs = [collect_run(f.name, f, read_run_config(f), with_data=False) for f in folders]
    colors = {}
    for chart in comparison_charts(runs, compare(runs).data):
        axes = Figure().subplots()
        chart.draw(axes)
        for line in axes.lines:
            colors.setdefault(line.get_label(), set()).add(line.get_color())
    assert set(colors) == {"a", "b", "c"}
    assert all(len(used) == 1 for used in colors.values())


def test_losses_that_are_not_finite_do_not_stop_the_charts(make_run):
    folders = [make_run("a"), make_run("b", 8)]
    for folder in folders:
        lines = [{"iteration": step, "total_loss": float("nan")} for step in range(3)]
        (folder / "metrics.json").write_text("".join(json.dumps(each) + "\n" for each in lines))
    assert "runs-loss" not in drawn(*folders)
