"""A report has the page, its pictures and every number."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
from coco_detections import NAMES, make_results, pycocotools_scores

from dyhead.errors import UserError
from dyhead.run_report import ReportSettings, write_report
from dyhead.run_report.as_json import report_as_dict
from dyhead.run_report.run import names_of
from dyhead.run_report.written_pictures import earlier_pictures


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


@pytest.mark.parametrize(
    ("line", "is_recorded", "sentence"),
    [
        ("# made from configs/quickstart.yaml", True, "that this run is made from. "),
        (
            "# made from a.yaml, on top of configs/quickstart.yaml",
            True,
            "made from by way of a.yaml. ",
        ),
        ("# made from a.yaml", False, "nearest to; its file a.yaml stands on none of them. "),
        ("SEED: 7", False, "nearest to; its config.yaml does not say what it was made from. "),
    ],
)
def test_the_page_says_why_the_config_is_compared_with_that_one(
    make_run, tmp_path, line, is_recorded, sentence
):
    run = make_run()
    text = (run / "config.yaml").read_text().replace("SEED: 7\n", "")
    (run / "config.yaml").write_text(f"{line}\n{text}")
    write_report(ReportSettings([run], tmp_path / "out", with_data=False))
    assert sentence in (tmp_path / "out" / "report.html").read_text()
    config = json.loads((tmp_path / "out" / "report.json").read_text())["runs"][0]["config"]
    assert config["base"] == "quickstart"
    assert config["base_is_recorded"] == is_recorded


def test_a_run_stays_as_it_is(report):
    assert {path: path.stat().st_mtime_ns for path in report.run.rglob("*")} == report.before


def test_pictures_that_cannot_be_read_are_named(make_run, labelled, tmp_path):
    pictures = tmp_path / "pictures"
    shutil.copytree(labelled, pictures)
    run = make_run(**{"DATASETS.SOURCES": [
        [f"made_{part}", str(labelled / f"{part}.json"), str(pictures)] for part in ("train", "val")
    ]})  # fmt: skip
    output = tmp_path / "out"
    write_report(ReportSettings([run], output, with_data=False))
    names = re.findall(r"<figcaption>(val_.*?): ", (output / "report.html").read_text())
    assert len(names) == 8
    for name in names[1], names[-1]:  # the file's parts are sound: reading a set decodes no pixels
        data = (pictures / name).read_bytes()
        begin = data.index(b"IDAT") + len(b"IDAT")
        (pictures / name).write_bytes(data[:begin] + bytes(60) + data[begin + 60 :])
    (report,) = write_report(ReportSettings([run], output, with_data=False))
    (sentence,) = report.missing
    assert sentence.startswith(
        f"Of the worst and best pictures of made_val, {names[1]}, {names[-1]} cannot be read"
    )
    assert json.loads((output / "report.json").read_text())["runs"][0]["missing"] == [sentence]
    page = (output / "report.html").read_text()
    assert f"{names[1]}, {names[-1]} cannot be read" in page
    left = [*names[:1], *names[2:-1]]
    assert re.findall(r"<figcaption>(val_.*?): ", page) == left
    assert len(list(output.glob("worst-*.png"))) == 3


def test_a_report_takes_the_pictures_of_an_earlier_one_away_and_nothing_else(make_run, tmp_path):
    output, outside = tmp_path / "out", tmp_path / "outside.png"
    write_report(ReportSettings([make_run("a", 7), make_run("b", 8)], output, with_data=False))
    content = json.loads((output / "report.json").read_text())
    names = {path.name for path in output.glob("*.png")}
    assert set(content["pictures"]) == names and "run2-worst-1.png" in names
    others = [output / "mine.png", output / "below" / "it.png", outside, output / "notes.txt"]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"stays")
    content["pictures"] += ["../outside.png", str(outside), "below/it.png", "notes.txt", ".", 7]
    content["pictures"] += ["below", "gone.png", "..", None, "below\\it.png"]
    (output / "report.json").write_text(json.dumps(content))
    write_report(ReportSettings([make_run()], output, with_data=False))
    assert all(path.read_bytes() == b"stays" for path in others)
    left = {path.name for path in output.glob("*.png")} - {"mine.png"}
    assert left == set(json.loads((output / "report.json").read_text())["pictures"])
    assert "worst-1.png" in left and not any(name.startswith("run") for name in left)


@pytest.mark.parametrize("text", ["{", "[]", '{"pictures": 7}', '{"pictures": null}'])
def test_an_earlier_report_that_is_broken_names_no_pictures(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    assert earlier_pictures(tmp_path / "report.json") == set()


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


def test_runs_of_the_same_name_are_told_apart_by_as_many_folders_as_it_takes(tmp_path):
    folders = [tmp_path / path for path in ("a/x/run", "b/x/run", "b/y/run", "b/other", "c/../d")]
    assert names_of(folders) == ["a/x/run", "b/x/run", "y/run", "other", "d"]


def test_no_picture_takes_the_place_of_another(make_run, labelled, tmp_path):
    """Names of data sets that differ in what a file's name cannot have, or in case alone."""
    names = ("a b", "a-b", "A B")
    sources = [[name, str(labelled / "val.json"), str(labelled)] for name in names]
    run = make_run(**{"DATASETS.SOURCES": sources, "DATASETS.TRAIN": names, "DATASETS.TEST": names})
    for name in names:
        (run / "inference" / name).mkdir()
        shutil.copy(run / "inference" / "coco_instances_results.json", run / "inference" / name)
    (report,) = write_report(ReportSettings([run], tmp_path, with_data=False))
    assert len(report.evaluations) == 3
    pictures = json.loads((tmp_path / "report.json").read_text())["pictures"]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == pictures
    assert len({name.casefold() for name in pictures}) == len(pictures) == 3 * (7 + 8) + 2 + 1


def test_numbers_have_the_ids_of_the_user_s_file(make_run, labelled, tmp_path):
    content = json.loads((labelled / "val.json").read_text())
    for image in content["images"]:
        image["id"] = f"picture {image['id']}"
    for annotation in content["annotations"]:
        annotation["image_id"] = f"picture {annotation['image_id']}"
    (tmp_path / "val.json").write_text(json.dumps(content))
    sources = [["made_train", str(labelled / "train.json"), str(labelled)]]
    sources.append(["made_val", str(tmp_path / "val.json"), str(labelled)])
    run = make_run(**{"DATASETS.SOURCES": sources})
    path = run / "inference" / "coco_instances_results.json"
    results = json.loads(path.read_text())
    path.write_text(
        json.dumps([{**each, "image_id": f"picture {each['image_id']}"} for each in results])
    )
    (report,) = write_report(ReportSettings([run], tmp_path / "out", with_data=False))
    measured = report_as_dict([report], None, [])["runs"][0]["evaluations"]["made_val"]
    file_names = {image["id"]: image["file_name"] for image in content["images"]}
    assert {each["image_id"]: each["file_name"] for each in measured["by_picture"]} == file_names


def test_classes_of_any_name_and_detectors_of_any_answer_have_a_page(make_run, labelled, tmp_path):
    """A set with names that mean something to HTML and to matplotlib, and no detection at all."""
    names = ("<script>alert(1)</script>", "$x^$", "_a & b")
    content = json.loads((labelled / "val.json").read_text())
    for category, name in zip(content["categories"], names, strict=True):
        category["name"] = name
    (tmp_path / "val.json").write_text(json.dumps(content))
    sources = [["made_train", str(labelled / "train.json"), str(labelled)]]
    sources.append(["made_val", str(tmp_path / "val.json"), str(labelled)])
    runs = [make_run(name, 7, **{"DATASETS.SOURCES": sources}) for name in ("_one", "$two^$")]
    (runs[1] / "inference" / "coco_instances_results.json").write_text("[]")
    write_report(ReportSettings(runs, tmp_path / "out", with_data=False))
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert "$x^$" in page and "_a &amp; b" in page
    assert "Calibration (no detections)" in page


def test_folders_that_are_no_runs_are_refused(tmp_path, make_run):
    with pytest.raises(UserError, match=r"config.yaml does not exist: name the folder of a run"):
        write_report(ReportSettings([tmp_path], tmp_path / "out"))
    assert not (tmp_path / "out").exists(), "a name with a typing error leaves no folder"
    run = make_run()
    (run / "metrics.json").unlink()
    (run / "inference" / "coco_instances_results.json").unlink()
    with pytest.raises(UserError, match="There is nothing to report"):
        write_report(ReportSettings([run], tmp_path / "out"))
