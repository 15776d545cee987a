"""The command trains what its plan says, goes on where it was stopped, and leaves its tables."""

import json
import re
import shutil
from pathlib import Path

import pytest
import study
import study_plan
from fake_study import TRAIN_NET, call, calls


def test_all_seeds_are_trained_and_compared(project: Path) -> None:
    content = call(project, "--seeds", "2")
    assert len(content["runs"]) == len(calls(project)) == 11 * 2
    assert {run["steps"] for run in content["runs"]} == {50}
    (table,) = content["tables"]
    with_dyhead = table["rows"][1]
    assert with_dyhead["against its baseline"]["difference"]["mean"] == 2
    text = (project / "study.md").read_text()
    assert "Runs: 22; equal: minutes; minutes: 6.5;" in text and "ahead of 5 of 5, by +2.0" in text


def test_data_sets_of_the_same_name_are_refused(project: Path) -> None:
    other = project / "other" / "cells"
    shutil.copytree(project / "cells", other)
    with pytest.raises(SystemExit, match=f"--data {project}/cells and --data {other} are both"):
        call(project, "--data", str(other))


EDIT = """
path = pathlib.Path(FILE)
path.write_text(path.read_text().replace(OLD, NEW))
"""


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the study's configs, and of those that they stand on."""
    folders = ("configs", "experiments/configs")
    for name in folders:
        shutil.copytree(Path(study.__file__).parents[1] / name, tmp_path / name)
    monkeypatch.setattr(study_plan, "CONFIGS", tmp_path / folders[1])
    return tmp_path / folders[1]


@pytest.mark.parametrize(
    ("file", "edit", "reason"),
    [
        ("experiments/configs/Base.yaml", ("EVAL_PERIOD: 0", "EVAL_PERIOD: 7"), "stands on"),
        ("experiments/configs/Base.yaml", ("SOLVER:", "SOLVERS:"), "SOLVERS"),
        ("cells/train.json", ('"bbox": [4, ', '"bbox": [5, '), "the annotations of .*train.json"),
    ],
)
def test_no_result_stands_under_the_name_of_what_did_not_train_it(
    file: str, edit: tuple[str, str], reason: str, project: Path, configs: Path
) -> None:
    """The first training changes what it was planned with, as a user may while it runs."""
    changes = EDIT.replace("FILE", repr(str(project / file)))
    changes = changes.replace("OLD", repr(edit[0])).replace("NEW", repr(edit[1]))
    (project / "train_net.py").write_text(TRAIN_NET + changes)
    content = call(project, "--seeds", "1", "--only", "ATSS", "--only", "FCOS")
    assert not content["runs"] and len(calls(project)) == 1, "of FCOS none is begun"
    assert list(content["failures"]) == [
        f"cells: {name} without DyHead, seed 1" for name in ("ATSS", "FCOS")
    ]
    assert all(re.search(reason, why) for why in content["failures"].values())


def test_only_the_runs_of_a_name_are_trained_and_others_stay_in_the_tables(project: Path) -> None:
    call(project, "--seeds", "1", "--only", "FCOS with")
    assert len(calls(project)) == 2
    content = call(project, "--seeds", "1", "--only", "ATSS with")
    assert len(calls(project)) == 4
    names = {run["detector"] for run in content["runs"]}
    assert names == {
        f"{name} {how} DyHead" for name in ("ATSS", "FCOS") for how in ("with", "without")
    }


def test_several_names_are_all_run(project: Path) -> None:
    content = call(project, "--seeds", "1", "--only", "FCOS with", "--only", "ATSS with")
    assert {run["detector"].split()[0] for run in content["runs"]} == {"ATSS", "FCOS"}
    assert len(calls(project)) == 4


@pytest.mark.parametrize(
    ("only", "detectors"),
    [
        ("the recipe", {"ATSS without DyHead", "ATSS with DyHead, the recipe"}),
        (" 2 blocks", {"ATSS without DyHead", "ATSS with DyHead, 2 blocks"}),
        ("RepPoints with DyHead", {"RepPoints without DyHead", "RepPoints with DyHead"}),
    ],
)
def test_a_run_is_found_by_the_name_of_any_of_its_rows(
    only: str, detectors: set[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first two are the run of "ATSS with DyHead", which comes first in the plan."""
    arguments = ["--tables", "detectors,forms,depth", "--seeds", "1", "--only", only]
    arguments += ["--jobs", "1"]
    call(project, *arguments)
    assert len(calls(project)) == 2
    capsys.readouterr()
    study.main(["--data", str(project / "cells"), "--results", str(project), "--plan", *arguments])
    *lines, last = capsys.readouterr().out.splitlines()
    assert {line.partition("cells: ")[2] for line in lines} == {
        f"{name}, seed 1: complete" for name in detectors
    }
    assert last.startswith("2 runs, ")


def test_a_name_of_no_run_is_refused(project: Path) -> None:
    with pytest.raises(SystemExit, match="--only 'DETR' is in none .* 'ATSS with DyHead', 'FCOS"):
        call(project, "--only", "DETR")
    assert not calls(project) and not (project / "study.json").exists()


def test_the_plan_counts_with_what_complete_runs_on_such_a_machine_took(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--equal", "steps", "--steps", "160", "--only", "FCOS"]  # 200 s are expected
    content = call(project, "--seeds", "1", *options)
    content["runs"][0] |= {"seconds": 600}
    content["runs"][1] |= {"seconds": 6000, "runs at a time": 7}
    (project / "study.json").write_text(json.dumps(content))
    shutil.rmtree(project / "output")
    capsys.readouterr()
    call(project, "--seeds", "2", *options, "--plan")
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["complete"] * 2 + ["10.0 min"] * 2
    assert last.startswith("4 runs, 1 at a time: about 0.3 hours to go")


def test_the_plan_trains_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(project / "cells", project / "boards")
    data = ["--data", str(project / "cells"), "--data", str(project / "boards")]
    study.main([*data, "--plan", "--jobs", "2", "--results", str(project)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("cells: ATSS without DyHead, seed 1: 7.2 min")
    assert lines[-1].startswith("192 runs, 2 at a time: about 11.5 hours to go")
    assert not calls(project)


def test_one_night_on_two_cores_is_the_default() -> None:
    args = study.parse(["--data", "cells"])
    runs = 3 * 30 * 2  # seeds, detectors, data sets
    assert 0.8 * args.hours < runs * (60 * args.minutes + study.START_UP) / 2 / 3600 < args.hours


def test_without_time_nothing_is_begun(project: Path) -> None:
    content = call(project, "--hours", "0.01")
    assert not content["runs"] and not calls(project)


def test_a_failed_run_is_named_and_nothing_is_trained_to_be_compared_with_it(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = call(project, "--seeds", "1", "SOLVER.BASE_LR", "9.0")
    assert len(content["failures"]) == 5
    assert set(content["failures"].values()) == {"Error: no such detector"}
    assert not content["runs"] and not calls(project)
    said = capsys.readouterr().out
    assert said.count("skipped, for ") == 6
    line = "cells: FCOS with DyHead, seed 1: skipped, for cells: FCOS without DyHead, seed 1 failed"
    assert line in said


def test_unknown_tables_and_data_are_refused_by_name(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        study.main(["--data", "x", "--tables", "towers"])
    assert (
        "'towers' is unknown: use detectors, forms, recipe, attentions" in capsys.readouterr().err
    )
    with pytest.raises(SystemExit, match="--data .*nowhere does not exist: name the folder"):
        study.main(["--data", str(project / "nowhere")])
