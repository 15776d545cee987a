"""A report has the page, its pictures and every number."""

import json
import re
from types import SimpleNamespace

import pytest
from coco_detections import NAMES, make_results, pycocotools_scores

from dyhead.errors import UserError
from dyhead.run_report import ReportSettings, write_report


@pytest.fixture(scope="module")
def report(make_run, tmp_path_factory):
    """A report on one run: its folder, those of the run's files before, numbers and page."""
    run, output = make_run(), tmp_path_factory.mktemp("report")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    write_report(ReportSettings([run], output))
    return SimpleNamespace(
        run=run,
        before=before,
        output=output,
        content=json.loads((output / "report.json").read_text())["runs"][0],
        page=(output / "report.html").read_text(),
    )


def test_numbers_are_those_of_pycocotools(report, labelled):
    run = report.content
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


def test_the_page_needs_nothing_beside_itself_and_is_in_order(report):
    page = report.page
    assert not re.search(r'(src|href)="(?!data:|#)', page.replace("xlink:href", "href"))
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert page.count("<svg") == page.count("</svg>") == 10
    targets = set(re.findall(r"<nav>.*?</nav>", page, re.DOTALL)[0].split('href="#')[1:])
    for target in targets:
        assert f'id="{target.split(chr(34))[0]}"' in page


def test_every_chart_and_example_is_a_png_too(report):
    names = {path.stem for path in report.output.glob("*.png")}
    assert {"losses", "learning-rate", "ap", "precision-recall", "f1", "confusion"} <= names
    assert {"errors", "calibration", "ap-by-class", "ap-by-iou", "worst-1", "best-1"} <= names


def test_a_run_stays_as_it_is(report):
    assert {path: path.stat().st_mtime_ns for path in report.run.rglob("*")} == report.before


@pytest.mark.slow
def test_a_page_on_several_runs_has_their_differences_and_the_spread(make_run, tmp_path):
    runs = [make_run(f"seed{seed}", seed) for seed in (7, 8, 9)]
    write_report(ReportSettings(runs, tmp_path, with_data=False))
    page = (tmp_path / "report.html").read_text()
    assert "Spread over seeds: seed7, seed8, seed9" in page
    assert "Differences are from seed7." in page
    names = {path.stem for path in tmp_path.glob("*.png")}
    assert {"runs-loss", "runs-ap", "runs-errors-made_val", "run1-losses", "run3-worst-1"} <= names
    ids = [part.split('"')[0] for part in page.split('href="#')[1:]]
    assert all(f'id="{each}"' in page for each in ids)


def test_a_run_that_is_named_twice_is_refused(make_run, tmp_path):
    run = make_run()
    (tmp_path / "link").symlink_to(run)
    for again in (run, tmp_path / "link", run / ".." / run.name):
        with pytest.raises(UserError, match="is the same run as .*: name each run once"):
            write_report(ReportSettings([run, again], tmp_path / "out"))


def test_the_page_and_the_numbers_say_what_does_not_compare(make_run, tmp_path):
    runs = [make_run("one", 7), make_run("copy", 7)]
    write_report(ReportSettings(runs, tmp_path, with_data=False))
    (doubt,) = json.loads((tmp_path / "report.json").read_text())["comparison"]["doubts"]
    assert doubt in (tmp_path / "report.html").read_text()


def test_folders_that_are_no_runs_are_refused(tmp_path, make_run):
    with pytest.raises(UserError, match=r"config.yaml does not exist: name the folder of a run"):
        write_report(ReportSettings([tmp_path], tmp_path / "out"))
    run = make_run()
    (run / "metrics.json").unlink()
    (run / "inference" / "coco_instances_results.json").unlink()
    with pytest.raises(UserError, match="There is nothing to report"):
        write_report(ReportSettings([run], tmp_path / "out"))
