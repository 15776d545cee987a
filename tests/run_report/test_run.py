"""A report has the page, its pictures and every number; what is missing is named."""

import json
import math
import re

import pytest
from coco_detections import NAMES, make_results, pycocotools_scores

from dyhead.errors import UserError
from dyhead.run_report import ReportSettings, write_report


def report_on(folders, output, **options):
    runs = write_report(ReportSettings(folders, output, **options))
    return runs, json.loads((output / "report.json").read_text())


def page_of(output):
    return (output / "report.html").read_text()


def test_numbers_are_those_of_pycocotools(make_run, labelled, tmp_path):
    _, content = report_on([make_run()], tmp_path / "out")
    (run,) = content["runs"]
    truth = json.loads((labelled / "val.json").read_text())
    reference = pycocotools_scores(truth, make_results(truth, 7))
    measured = run["evaluations"]["made_val"]
    for metric in ("AP", "AP50", "AP75", "APs", "APm", "APl"):
        assert measured["scores"][metric] == pytest.approx(reference[metric]), metric
    assert [each["name"] for each in measured["classes"]] == list(NAMES)
    assert measured["errors"]["ap50"] == pytest.approx(reference["AP50"])
    assert measured["objects"] == sum(not each["iscrowd"] for each in truth["annotations"])
    for each in measured["classes"]:
        assert each["scores"]["AP"] == pytest.approx(reference[f"AP-{each['name']}"])
        assert each["best"]["f1"] == pytest.approx(max(each["curve"]["f1"]), abs=0.02)
    assert run["missing"] == []
    assert run["training"]["steps"] == 41
    assert run["training"]["pictures_per_second"] == pytest.approx(8 / 0.5)
    assert measured["cost"]["peak_memory_gib"] == 1.5


def test_the_page_needs_nothing_beside_itself_and_is_in_order(make_run, tmp_path):
    report_on([make_run()], tmp_path / "out")
    page = page_of(tmp_path / "out")
    assert not re.search(r'(src|href)="(?!data:|#)', page.replace("xlink:href", "href"))
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert page.count("<svg") == page.count("</svg>") == 10
    targets = set(re.findall(r"<nav>.*?</nav>", page, re.DOTALL)[0].split('href="#')[1:])
    for target in targets:
        assert f'id="{target.split(chr(34))[0]}"' in page


def test_every_chart_and_example_is_a_png_too(make_run, tmp_path):
    report_on([make_run()], tmp_path / "out")
    names = {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert {"losses", "learning-rate", "ap", "precision-recall", "f1", "confusion"} <= names
    assert {"errors", "calibration", "ap-by-class", "ap-by-iou", "worst-1", "best-1"} <= names


def test_a_run_stays_as_it_is(make_run, tmp_path):
    run = make_run()
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    report_on([run], tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_what_is_missing_is_named_with_what_makes_it(make_run, tmp_path):
    run = make_run()
    (run / "metrics.json").unlink()
    (run / "inference" / "cost.json").unlink()
    _, content = report_on([run], tmp_path / "out")
    assert content["runs"][0]["training"] is None
    missing = " ".join(content["runs"][0]["missing"])
    assert "metrics.json is missing: a training leaves it" in missing
    assert (
        f"cost.json of made_val is missing, with seconds per picture and memory: `dyhead eval {run}`"
        in missing
    )
    assert "metrics.json is missing" in page_of(tmp_path / "out")


def test_without_detections_the_curves_are_reported(make_run, tmp_path):
    run = make_run()
    (run / "inference" / "coco_instances_results.json").unlink()
    _, content = report_on([run], tmp_path / "out")
    assert content["runs"][0]["evaluations"] == {}
    assert f"`dyhead eval {run}` makes it" in content["runs"][0]["missing"][0]


def test_detections_of_a_later_evaluation_are_found(make_run, tmp_path):
    run = make_run()
    (run / "evaluation").mkdir()
    (run / "inference").rename(run / "evaluation" / "inference")
    _, content = report_on([run], tmp_path / "out")
    assert content["runs"][0]["evaluations"]["made_val"]["scores"]["AP"] > 0


def test_scores_of_other_detections_are_doubted(make_run, tmp_path):
    run = make_run()
    (run / "inference" / "scores.json").write_text('{"AP": 99.0}')
    _, content = report_on([run], tmp_path / "out")
    assert "has an AP of 99.00, its detections one of" in content["runs"][0]["missing"][0]


def test_a_detector_that_finds_nothing_is_reported(make_run, tmp_path):
    run = make_run()
    (run / "inference" / "coco_instances_results.json").write_text("[]")
    _, content = report_on([run], tmp_path / "out")
    measured = content["runs"][0]["evaluations"]["made_val"]
    assert measured["scores"]["AP"] == 0
    assert measured["calibration"]["error"] is None
    assert measured["errors"]["kinds"]["missed"]["count"] == measured["objects"]


def test_runs_stand_side_by_side_and_seeds_have_a_spread(make_run, tmp_path):
    runs = [make_run(f"seed{seed}", seed) for seed in (7, 8, 9)]
    other = make_run("slow", 7, **{"SOLVER.BASE_LR": 0.5})
    _, content = report_on([*runs, other], tmp_path / "out", with_data=False)
    compared = content["comparison"]
    assert compared["runs"] == ["seed7", "seed8", "seed9", "slow"]
    rows = {row["label"]: row for row in compared["rows"]}
    values = [each["evaluations"]["made_val"]["scores"]["AP"] for each in content["runs"]]
    assert rows["AP"]["values"] == pytest.approx(values)
    assert rows["AP"]["differences"] == pytest.approx([v - values[0] for v in values])
    assert {each["key"] for each in compared["config"]} == {"SEED", "SOLVER.BASE_LR"}
    (group,) = compared["seeds"]
    assert group["names"] == ["seed7", "seed8", "seed9"]
    spread = next(each for each in group["spreads"] if each["label"] == "AP")
    mean = sum(values[:3]) / 3
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values[:3]) / 2)
    assert (spread["mean"], spread["deviation"]) == pytest.approx((mean, deviation))
    assert (spread["low"], spread["high"]) == pytest.approx((min(values[:3]), max(values[:3])))
    assert "Spread over seeds: seed7, seed8, seed9" in page_of(tmp_path / "out")


def test_the_config_differs_from_the_packaged_one_in_what_was_set(make_run, tmp_path):
    runs, _ = report_on([make_run("run", 7, **{"SOLVER.MAX_ITER": 60})], tmp_path / "out")
    assert runs[0].difference.base == "quickstart"
    keys = {key for key, _, _ in runs[0].difference.keys}
    assert {"SOLVER.MAX_ITER", "SEED"} <= keys <= {
        "SOLVER.MAX_ITER", "SEED", "DATASETS.SOURCES", "DATASETS.TRAIN", "DATASETS.TEST"
    }  # fmt: skip


def test_the_data_is_described_in_ten_lines(make_run, tmp_path):
    (run,), _ = report_on([make_run()], tmp_path / "out")
    assert 4 <= len(run.health) <= 10
    assert run.health[0].startswith("made_train: 12 pictures")
    assert any(line.startswith("Boxes to learn by the level") for line in run.health)


def test_folders_that_are_no_runs_are_refused(tmp_path, make_run):
    with pytest.raises(UserError, match=r"config.yaml does not exist: name the folder of a run"):
        write_report(ReportSettings([tmp_path], tmp_path / "out"))
    run = make_run()
    (run / "metrics.json").unlink()
    (run / "inference" / "coco_instances_results.json").unlink()
    with pytest.raises(UserError, match="There is nothing to report"):
        write_report(ReportSettings([run], tmp_path / "out"))
