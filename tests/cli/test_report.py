"""`dyhead report` writes into a folder, and says what is missing."""

import pytest

from dyhead.cli.main import main


def test_a_folder_that_is_no_run_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(SystemExit, match="Error: .*config.yaml does not exist: name the folder"):
        main(["report", str(tmp_path), "--output", str(tmp_path / "out")])


def test_options_reach_the_report(tmp_path, monkeypatch, capsys):
    given = []
    monkeypatch.setattr(
        "dyhead.run_report.write_report", lambda settings: given.append(settings) or []
    )
    main(["report", str(tmp_path / "a"), str(tmp_path / "b"), "--no-data"])
    (settings,) = given
    assert settings.runs == [tmp_path / "a", tmp_path / "b"]
    assert (settings.output, settings.with_data) == (tmp_path / "a" / "report", False)
    assert f"Report: {tmp_path / 'a' / 'report' / 'report.html'}" in capsys.readouterr().out
