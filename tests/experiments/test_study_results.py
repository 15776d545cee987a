"""Results are read from what a training leaves in its folder, and published as they are."""

import json
import re
from pathlib import Path

import pytest
import study_plan
from comparisons import TABLES
from data_sets import DataSet
from study_plan import Length, make_plan
from study_results import read_run
from study_tables import as_values, format_study


def test_weights_are_kept_on_demand(tmp_path: Path) -> None:
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference" / "scores.json").write_text('{"AP": 40}')
    line = '{"iteration": 49, "total_loss": 1}\n{"iteration": 50}\n'
    (tmp_path / "metrics.json").write_text(line)
    (tmp_path / "model_final.pth").touch()
    for keeps_weights in (True, False):
        result = read_run(tmp_path, keeps_weights, {"cores": 2})
        assert result == {"AP": 40, "steps": 50, "cores": 2, "commit": ""}
        assert (tmp_path / "model_final.pth").exists() == keeps_weights


def test_what_errors_cost_is_kept_of_a_report(tmp_path: Path) -> None:
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference" / "scores.json").write_text('{"AP": 40}')
    (tmp_path / "metrics.json").write_text('{"iteration": 49, "total_loss": 1}\n')
    assert "errors" not in read_run(tmp_path, True, {})
    kinds = {"missed": {"count": 3, "gain": 7.5}, "duplicate": {"count": 0, "gain": 0.0}}
    report = {"runs": [{"evaluations": {"own_val": {"errors": {"ap50": 80, "kinds": kinds}}}}]}
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text(json.dumps(report))
    assert read_run(tmp_path, True, {})["errors"] == {"missed": 7.5, "duplicate": 0}
    report["runs"][0]["evaluations"] = {}
    (tmp_path / "report" / "report.json").write_text(json.dumps(report))
    assert "errors" not in read_run(tmp_path, True, {})


@pytest.mark.parametrize(
    "name", ["study", "study_700_steps", "forms_three_sizes", "bccd_96_pixels"]
)
def test_the_published_tables_are_those_of_the_published_runs(name: str) -> None:
    """As the project's configs name them today: runs of others would leave the tables."""
    path = Path(study_plan.__file__).parent / "results" / f"{name}.json"
    known = json.loads(path.read_text(encoding="utf-8"))
    settings = known["settings"]
    overrides = re.findall(r"(\S+) (\(.*?\)|\S+)", settings["overrides"])
    plan = make_plan(
        [TABLES[table] for table in dict.fromkeys(each["table"] for each in known["tables"])],
        [DataSet(data, data, data, digest) for data, digest in known["annotations"].items()],
        (1, 2, 3),
        Length(settings["equal"], settings.get("minutes", 0), settings.get("steps", 0), max),
        [part for pair in overrides for part in pair],
    )
    results = {run["name"]: run for run in known["runs"]}
    assert json.loads(json.dumps(as_values(plan, results))) == known["tables"]
    assert format_study(plan, results) in path.with_suffix(".md").read_text(encoding="utf-8")
