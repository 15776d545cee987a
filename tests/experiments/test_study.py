"""The command trains what its plan says, goes on where it was stopped, and leaves its tables."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import study
import study_plan
from study_results import read_run

from dyhead.engine import setup
from dyhead.info import commit

TRAIN_NET = """
import json, pathlib, sys
options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
folder = pathlib.Path(options["OUTPUT_DIR"])
if options.get("MODEL.DYHEAD.NUM_CONVS") == "0" and options.get("SOLVER.BASE_LR") == "9.0":
    raise SystemExit("Error: no such detector")
(folder / "inference").mkdir()
ap = 40 + int(options["SEED"]) + 2 * ("MODEL.DYHEAD.NUM_CONVS" not in options)
scores = {"AP": ap, "AP50": 80, "AP75": 40, "APs": None}
(folder / "inference" / "scores.json").write_text(json.dumps(scores))
lines = [json.dumps({"iteration": step, "total_loss": 1.0}) for step in (19, 39, 49)]
lines.append(json.dumps({"iteration": 50, "bbox/AP": ap}))
(folder / "metrics.json").write_text("\\n".join(lines))
(folder / "model_final.pth").touch()
with open(pathlib.Path(__file__).with_name("calls"), "a") as calls:
    print(*sys.argv[1:], file=calls)
"""


@pytest.fixture
def project(cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a train_net.py that writes scores, and the data set cells."""
    (tmp_path / "train_net.py").write_text(TRAIN_NET)
    monkeypatch.setattr(study, "PROJECT", tmp_path)
    return tmp_path


def call(project: Path, *arguments: str) -> dict[str, Any]:
    data = ["--data", str(project / "cells"), "--tables", "detectors", "--jobs", "1"]
    study.main([*data, "--results", str(project), *arguments])
    return json.loads((project / "study.json").read_text())


def calls(project: Path) -> list[str]:
    path = project / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_all_seeds_are_trained_and_compared(project: Path) -> None:
    content = call(project, "--seeds", "2")
    assert len(content["runs"]) == len(calls(project)) == 11 * 2
    assert {run["steps"] for run in content["runs"]} == {50}
    (table,) = content["tables"]
    with_dyhead = table["rows"][1]
    assert with_dyhead["against its baseline"]["difference"]["mean"] == 2
    text = (project / "study.md").read_text()
    assert "Runs: 22; equal: minutes; minutes: 6.5;" in text and "ahead of 5 of 5, by +2.0" in text


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
        "with_digests",
        lambda sets, _: [each._replace(annotations=digests[each.name]) for each in sets],
    )
    name = ["--name", "study_700_steps", "--results", str(project), "--tables", "forms"]
    length = ["--equal", "steps", "--steps", "700", "--seeds", "1", "--only", "the recipe"]
    (project / "cells").rename(project / "bccd")
    study.main(["--data", str(project / "bccd"), *name, *length, "--plan"])
    assert capsys.readouterr().out.count("complete") == 2


def test_data_sets_of_the_same_name_are_refused(project: Path) -> None:
    other = project / "other" / "cells"
    shutil.copytree(project / "cells", other)
    with pytest.raises(SystemExit, match=f"--data {project}/cells and --data {other} are both"):
        call(project, "--data", str(other))


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
