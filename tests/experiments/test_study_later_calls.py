"""Later calls of the study go on from what earlier ones wrote, as far as it compares."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import study
from comparisons import Variant
from fake_study import TRAIN_NET, call, calls

from dyhead.engine import setup
from dyhead.info import commit


def test_a_second_call_trains_only_what_is_missing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(project, "--seeds", "1")
    content = call(project, "--seeds", "2")
    assert len(content["runs"]) == len(calls(project)) == 22
    capsys.readouterr()
    call(project, "--seeds", "3", "--plan")
    assert capsys.readouterr().out.count(": complete") == 22
    call(project, "--seeds", "3", "--plan", "--minutes", "4", "--name", "shorter")
    assert ": complete" not in capsys.readouterr().out, "of another length"


@pytest.mark.parametrize(
    "arguments",
    [("--minutes", "4"), ("--equal", "steps", "--steps", "9"), ("SOLVER.BASE_LR", "0.5")],
)
def test_results_of_other_trainings_are_not_overwritten(
    project: Path, arguments: tuple[str, ...]
) -> None:
    first = call(project, "--seeds", "1", "--only", "ATSS")
    with pytest.raises(SystemExit, match="study.json holds runs with .* another --name"):
        call(project, *arguments)
    assert json.loads((project / "study.json").read_text()) == first


MACHINE = {"device": "another", "cores": 99, "runs at a time": 7}


@pytest.mark.parametrize("key", MACHINE)
@pytest.mark.parametrize("place", ["run", "settings", "folder"])
def test_equal_minutes_do_not_go_on_on_another_machine(project: Path, key: str, place: str) -> None:
    first = call(project, "--seeds", "1", "--only", "FCOS")
    if place == "folder":  # of a call that was ended before it wrote its results
        (project / "study.json").unlink()
        path = project / "output" / "study" / first["runs"][1]["name"] / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), key: MACHINE[key]}))
    elif place == "run":
        first["runs"][1][key] = MACHINE[key]
    else:  # as results were written before their runs said it
        first["settings"][key] = MACHINE[key]
        for run in first["runs"]:
            del run[key]
    if place != "folder":
        (project / "study.json").write_text(json.dumps(first))
        shutil.rmtree(project / "output")
    message = f"had {key} {MACHINE[key]!r}, not .*another --name"
    with pytest.raises(SystemExit, match=message):
        call(project, "--seeds", "2", "--only", "FCOS")
    assert len(calls(project)) == 2


def test_equal_steps_go_on_on_another_machine_and_say_which(project: Path) -> None:
    options = ["--equal", "steps", "--only", "FCOS"]
    first = call(project, "--seeds", "1", *options)
    for run in first["runs"]:
        run |= MACHINE
    del first["runs"][0]["cores"]  # as results were written before
    (project / "study.json").write_text(json.dumps(first))
    shutil.rmtree(project / "output")
    second = call(project, "--seeds", "2", *options)
    assert second["runs"][:2] == first["runs"]
    assert [run["runs at a time"] for run in second["runs"]] == [7, 7, 1, 1]
    assert all(run["cores"] == second["settings"]["cores"] for run in second["runs"][2:])


def test_results_say_the_commits_that_trained_them(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each training tells its own, in the env.txt that the project writes."""
    monkeypatch.setattr(setup, "collect_env_info", lambda: "commit of another package: 1")
    for seeds, own in (("1", "0123456789ab"), ("2", "ba9876543210-dirty")):
        monkeypatch.setattr(commit, "find_commit", lambda own=own: own)
        told = f'\n(folder / "env.txt").write_text({setup._describe_environment()!r})\n'
        (project / "train_net.py").write_text(TRAIN_NET + told)
        results = call(project, "--seeds", seeds, "--only", "FCOS")
    commits = [run["commit"] for run in results["runs"]]
    assert commits == ["0123456789ab"] * 2 + ["ba9876543210-dirty"] * 2
    assert "commit: 0123456789ab, ba9876543210-dirty." in (project / "study.md").read_text()


@pytest.mark.parametrize("key", ["torch", "device", "python"])
def test_the_page_tells_what_all_its_runs_had(project: Path, key: str) -> None:
    options = ["--equal", "steps", "--only", "FCOS"]
    first = call(project, "--seeds", "1", *options)
    own = first["runs"][0][key]
    first["runs"][0][key] = "another"
    del first["runs"][1][key]  # as results were written before
    (project / "study.json").write_text(json.dumps(first))
    shutil.rmtree(project / "output")
    call(project, "--seeds", "2", *options)
    assert f"; {key}: another, unknown, {own}; " in (project / "study.md").read_text()


def test_written_results_of_the_project_are_read_and_complete(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were written before runs said their machine; their keys are those of the configs."""
    shutil.copy(Path(study.__file__).parent / "results" / "study_700_steps.json", project)
    digests = json.loads((project / "study_700_steps.json").read_text())["annotations"]
    monkeypatch.setattr(
        study,
        "with_annotations",
        lambda sets, _: [each._replace(annotations=digests[each.name]) for each in sets],
    )
    name = ["--name", "study_700_steps", "--results", str(project), "--tables", "forms"]
    length = ["--equal", "steps", "--steps", "700", "--seeds", "1", "--only", "the recipe"]
    (project / "cells").rename(project / "bccd")
    study.main(["--data", str(project / "bccd"), *name, *length, "--plan"])
    assert capsys.readouterr().out.count("complete") == 2


def test_what_a_later_call_leaves_out_stays_in_the_results(project: Path) -> None:
    call(project, "--seeds", "2", "--only", "ATSS")
    shutil.copytree(project / "cells", project / "boards")
    shutil.rmtree(project / "output")
    study.main(
        ["--data", str(project / "boards"), "--results", str(project), "--jobs", "1"]
        + ["--tables", "depth", "--seeds", "1", "--only", "1 blocks"]
    )
    content = json.loads((project / "study.json").read_text())
    assert len(content["runs"]) == 4 + 2
    shown = [(table["table"], table["data"]) for table in content["tables"]]
    assert shown == [
        *(("detectors", "boards"), ("detectors", "cells")),
        *(("depth", "boards"), ("depth", "cells")),
    ]


def test_equal_multiply_adds_are_those_of_each_data_set_in_later_calls_too(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(variant: Variant, num_classes: int, **_: Any) -> float:
        return 100.0 * (num_classes if variant.config == "fcos" else 1)

    monkeypatch.setattr(study, "count_multiply_adds", count)
    boards = shutil.copytree(project / "cells", project / "boards")
    for part in ("train", "val"):
        content = json.loads((boards / f"{part}.json").read_text())
        content["categories"].append({"id": 9, "name": "green"})
        (boards / f"{part}.json").write_text(json.dumps(content))
    options = ["--equal", "multiply-adds", "--steps", "60", "--seeds", "1", "--only", "FCOS"]
    call(project, *options)
    shutil.rmtree(project / "output")
    study.main(["--data", str(boards), "--results", str(project), "--jobs", "1", *options])
    content = json.loads((project / "study.json").read_text())
    steps = {(run["data"], run["options"].split()[3]) for run in content["runs"]}
    assert steps == {("cells", "30"), ("boards", "20")}
    assert {table["data"] for table in content["tables"]} == {"cells", "boards"}


def test_runs_of_a_config_that_changed_since_are_kept_beside_the_tables(project: Path) -> None:
    content = call(project, "--seeds", "1", "--only", "ATSS")
    content["runs"][0]["name"] = "cells-atss-0123456789-seed1"
    (project / "study.json").write_text(json.dumps(content))
    shutil.rmtree(project / "output")
    again = call(project, "--seeds", "1", "--only", "ATSS")
    assert len(calls(project)) == 3, "that run, and the one that takes its place"
    assert again["runs"][-1] == content["runs"][0] and len(again["runs"]) == 3


def correct_a_box(project: Path) -> None:
    path = project / "cells" / "train.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"][0] += 1
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("has_folders", [True, False])
def test_corrected_annotations_are_trained_again_and_earlier_results_stay(
    project: Path, has_folders: bool
) -> None:
    options = ["--seeds", "1", "--only", "ATSS"]
    first = call(project, *options)
    correct_a_box(project)
    if not has_folders:
        shutil.rmtree(project / "output")
    again = call(project, *options)
    assert len(calls(project)) == 4
    assert again["runs"][2:] == first["runs"], "beside the tables"
    assert again["annotations"].keys() == {"cells"}
    assert again["annotations"] != first["annotations"]
    (table,) = again["tables"]
    assert [row["scores"]["AP"]["n"] for row in table["rows"]] == [1, 1]
    assert call(project, *options) == again and len(calls(project)) == 4


def test_data_that_has_moved_is_not_trained_again(project: Path, tmp_path: Path) -> None:
    first = call(project, "--seeds", "1", "--only", "ATSS")
    shutil.rmtree(project / "output")
    (tmp_path / "elsewhere").mkdir()
    (project / "cells").rename(tmp_path / "elsewhere" / "cells")
    data = ["--data", str(tmp_path / "elsewhere" / "cells"), "--results", str(project)]
    study.main([*data, "--tables", "detectors", "--jobs", "1", "--seeds", "1", "--only", "ATSS"])
    assert json.loads((project / "study.json").read_text()) == first
    assert len(calls(project)) == 2


def test_results_that_say_nothing_of_annotations_stay_and_count_for_none(project: Path) -> None:
    content = call(project, "--seeds", "1", "--only", "ATSS")
    digest = content.pop("annotations")["cells"]
    for run in content["runs"]:
        run["name"] = run["name"].replace(f"-{digest}", "")
    (project / "study.json").write_text(json.dumps(content))
    shutil.rmtree(project / "output")
    again = call(project, "--seeds", "1", "--only", "ATSS")
    assert len(calls(project)) == 4 and again["runs"][2:] == content["runs"]


def test_results_that_were_written_are_complete_without_their_folders(project: Path) -> None:
    first = call(project, "--seeds", "1")
    shutil.rmtree(project / "output")
    again = call(project, "--seeds", "2")
    assert len(calls(project)) == 22
    assert [run for run in again["runs"] if run["seed"] == 1] == first["runs"]
