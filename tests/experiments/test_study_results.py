"""The result of a training is read from what it leaves in its folder."""

import json
from pathlib import Path

from study_results import read_run


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
