"""The notebook holds no outputs, and its code runs from the first cell to the report's numbers."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from coco_detections import pycocotools_scores
from document_files import run_program
from documents import PROJECT
from PIL import Image

NOTEBOOK = PROJECT / "docs" / "notebooks" / "first_detector.ipynb"


def code_cells() -> list[dict]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_holds_no_outputs():
    assert code_cells()
    for cell in code_cells():
        assert cell["outputs"] == [] and cell["execution_count"] is None


def test_what_it_names_is_there():
    text = NOTEBOOK.read_text(encoding="utf-8")
    pages = [name for name in text.replace(")", "(").split("(") if name.startswith("../")]
    assert pages
    assert all((NOTEBOOK.parent / page).is_file() for page in pages)


@dataclass(frozen=True)
class Reader:
    """A reader who has run the notebook: their folder, and what the cells printed to them."""

    folder: Path
    printed: str

    @property
    def run(self) -> Path:
        return self.folder / "output" / "notebook"

    def read(self, name: str) -> Any:
        return json.loads((self.run / name).read_text(encoding="utf-8"))

    @property
    def evaluation(self) -> dict:
        """The one of report.json."""
        return self.read("report/report.json")["runs"][0]["evaluations"]["shapes_val"]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    sources = ["".join(cell["source"]) for cell in code_cells()]
    assert sum("MINUTES = 2" in source for source in sources) == 1
    program = "\n".join(sources).replace("MINUTES = 2", "MINUTES = 0.5")
    folder = tmp_path_factory.mktemp("notebook")
    yield Reader(folder, run_program([sys.executable, "-c", program], folder))
    shutil.rmtree(folder)


@pytest.mark.slow
def test_its_cells_end_with_a_drawn_detection(reader):
    assert Image.open(reader.folder / "drawn.png").size[0] >= 128


@pytest.mark.slow
def test_its_report_is_of_its_run(reader):
    report = reader.read("report/report.json")
    (run,) = report["runs"]
    assert (reader.folder / run["path"]).resolve() == reader.run.resolve()
    assert run["name"] == "notebook"
    assert run["missing"] == [] and list(run["evaluations"]) == ["shapes_val"]
    assert run["config"]["base"] == "quickstart" and run["config"]["base_is_recorded"]
    changed = {each["key"]: each["run"] for each in run["config"]["differences"]}
    assert changed["SOLVER.MINUTES"] == 0.5
    lines = map(json.loads, (reader.run / "metrics.json").read_text().splitlines())
    last = max(line["iteration"] for line in lines if "total_loss" in line)
    assert run["training"]["steps"] == last + 1
    assert {"errors.png"} < set(report["pictures"])
    for picture in report["pictures"]:
        Image.open(reader.run / "report" / picture).verify()


@pytest.mark.slow
def test_its_report_has_the_scores_of_its_evaluation(reader):
    results = reader.read("inference/coco_instances_results.json")
    annotations = reader.folder / "datasets" / "shapes" / "annotations" / "instances_val.json"
    truth = json.loads(annotations.read_text(encoding="utf-8"))
    evaluation, scores = reader.evaluation, reader.read("inference/scores.json")
    reference = pycocotools_scores(truth, results)
    assert reference["AP50"] > 0
    for name in ("AP", "AP50", "AP75", "APs", "APm", "APl"):
        assert evaluation["scores"][name] == pytest.approx(reference[name], abs=1e-6)
        assert scores[name] == pytest.approx(reference[name], abs=1e-6)
    assert evaluation["pictures"] == len(truth["images"])
    assert evaluation["objects"] == len(truth["annotations"])
    assert evaluation["detections"] == len(results)


@pytest.mark.slow
def test_its_cells_print_the_scores_and_errors_of_the_report(reader):
    for name in ("AP", "AP50", "AP75"):
        printed = re.findall(rf'^ "{name}": ([\d.]+),$', reader.printed, re.MULTILINE)
        assert [float(each) for each in printed] == [
            pytest.approx(reader.evaluation["scores"][name], abs=1e-6)
        ]
    lines = re.findall(r"^(\w+) +(\d+) errors, +([\d.]+) AP50", reader.printed, re.MULTILINE)
    kinds = reader.evaluation["errors"]["kinds"]
    assert [(kind, int(count)) for kind, count, _ in lines] == [
        (kind, cost["count"]) for kind, cost in kinds.items()
    ]
    gains = [float(gain) for _, _, gain in lines]
    assert gains == pytest.approx([cost["gain"] for cost in kinds.values()], abs=0.05)


@pytest.mark.slow
def test_its_page_shows_them(reader):
    page = (reader.run / "report" / "report.html").read_text(encoding="utf-8")
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings == ["Scores on shapes_val", "Training", "Config", "Data", "Definitions"]
    shown = dict(re.findall(r"<div><span>(\w+)</span><b>([\d.]+)</b></div>", page))
    scores = reader.evaluation["scores"]
    assert {name: float(value) for name, value in shown.items()} == {
        name: pytest.approx(value, abs=0.05) for name, value in scores.items()
    }
    assert "SOLVER.<wbr>MINUTES" in page
    row = re.compile(r"</th><td>([\d,]+)</td><td>([\d.]+)</td><td class=\"left\">")
    errors = [(int(count.replace(",", "")), float(gain)) for count, gain in row.findall(page)]
    kinds = reader.evaluation["errors"]["kinds"].values()
    assert errors[: len(kinds)] == [
        (cost["count"], pytest.approx(cost["gain"], abs=0.05)) for cost in kinds
    ]
