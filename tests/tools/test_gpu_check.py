"""The GPU check runs every stage it can, cuts off what hangs, and always leaves its results."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gpu_check
import gpu_commands
import gpu_stage
import gpu_stages
import pytest
import study
from gpu_stage import Outcome, Setup, Stage
from gpu_stages import STAGES

PROJECT = Path(__file__).parents[2]


def make_stage(name: str, script: str, **changes: Any) -> Stage:
    """A stage that runs a line of Python."""
    stage = Stage(
        name,
        "for a test",
        lambda setup: ["-c", script],
        lambda setup, status: Outcome(gpu_stage.state_of(status), f"status {status}", [status]),
        needs=("json",),
        limit=60,
        least=1,
    )
    return replace(stage, **changes)


@pytest.fixture
def run_check(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Call it with stages to get what gpu_check.json says of them, by name."""

    def run(*stages: Stage, budget: float = 60, device: str = "cpu") -> dict[str, Any]:
        setup = Setup(device, tmp_path, tmp_path, None, 0)
        gpu_check.Check(setup, stages, budget, jobs=2).run()
        content = json.loads((tmp_path / "gpu_check.json").read_text())
        return {stage["stage"]: stage for stage in content["stages"]}

    return run


def test_a_failing_stage_stops_no_other_one(run_check: Callable[..., Any], tmp_path: Path) -> None:
    found = run_check(
        make_stage("bad", "raise SystemExit('no luck')"), make_stage("good", "print('fine')")
    )
    assert (found["bad"]["state"], found["bad"]["results"]) == ("failed", [1])
    assert found["good"]["state"] == "passed"
    assert "no luck" in (tmp_path / "bad.log").read_text()
    assert (tmp_path / "good.log").read_text() == "fine\n"


def test_a_stage_that_cannot_be_read_is_failed(run_check: Callable[..., Any]) -> None:
    def read(setup: Setup, status: int) -> Outcome:
        raise KeyError("rows")

    found = run_check(make_stage("odd", "pass", read=read), make_stage("good", "pass"))
    assert (found["odd"]["state"], found["odd"]["figure"]) == ("failed", "KeyError: 'rows'")
    assert found["good"]["state"] == "passed"


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_a_hanging_stage_is_cut_off_with_its_children(
    run_check: Callable[..., Any], tmp_path: Path
) -> None:
    script = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']);"
        "print('child', child.pid, flush=True); time.sleep(99)"
    )
    found = run_check(make_stage("hangs", script, limit=4), make_stage("next", "pass"))
    assert found["hangs"]["state"] == "failed"
    assert found["hangs"]["figure"].startswith("stopped after 4 s: child")
    assert found["hangs"]["seconds"] < 30
    assert found["next"]["state"] == "passed"
    child = re.search(r"child (\d+)", (tmp_path / "hangs.log").read_text())
    assert child
    assert has_ended(int(child[1]))


def test_a_stage_that_the_budget_ends_has_not_failed(run_check: Callable[..., Any]) -> None:
    found = run_check(make_stage("long", "import time; time.sleep(99)"), budget=3)
    assert found["long"]["state"] == "skipped"
    assert found["long"]["figure"].startswith("the budget ended after 3 s")


def test_what_a_stopped_stage_has_left_is_kept(
    run_check: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_check, "GRACE", 60)  # a machine with other work is slow to end
    cases = tmp_path / "test_cases.py"
    cases.write_text(
        "import time\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 1 == 2\n"
        "def test_hangs(): time.sleep(99)\n"
    )
    stage = gpu_commands.tests("cases", "", (str(cases),), (), 60, least=1)
    found = run_check(replace(stage, limit=20))["cases"]  # pytest may take long to start
    assert found["state"] == "failed"
    assert re.match(r"stopped after \d+ s: .*1 failed, 1 passed", found["figure"])
    assert found["results"]["passed"] == 1
    (failed,) = found["results"]["failed tests"]
    assert failed.endswith("test_cases::test_bad")


def test_results_of_an_earlier_check_are_not_taken_for_new_ones(
    run_check: Callable[..., Any], tmp_path: Path
) -> None:
    old = tmp_path / "old.json"
    old.write_text("[]")

    def read(setup: Setup, status: int) -> Outcome:
        return Outcome("failed" if old.is_file() else "passed", "")

    assert (
        run_check(make_stage("new", "", read=read, leaves=lambda _: old))["new"]["state"]
        == "passed"
    )


def test_a_stage_is_written_down_before_those_beside_it_have_ended(
    run_check: Callable[..., Any], tmp_path: Path
) -> None:
    script = (
        "import json, pathlib, time\n"
        f"path = pathlib.Path({str(tmp_path / 'gpu_check.json')!r})\n"
        "for _ in range(200):\n"
        "    if any(s['stage'] == 'quick' for s in json.loads(path.read_text())['stages']):\n"
        "        raise SystemExit\n"
        "    time.sleep(0.1)\n"
        "raise SystemExit(1)\n"
    )
    found = run_check(make_stage("waits", script), make_stage("quick", ""))
    assert found["waits"]["state"] == "passed"
    assert list(found) == ["waits", "quick"]


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_an_interrupted_check_ends_its_processes_and_keeps_what_it_has(tmp_path: Path) -> None:
    main = (
        "import sys, gpu_check, gpu_stage as s\n"
        "read = lambda setup, status: s.Outcome(s.state_of(status), '')\n"
        "def stage(name, script):\n"
        "    return s.Stage(name, '', lambda _: ['-c', script], read, (), 60, 1, alone=True)\n"
        "gpu_check.STAGES = [stage('first', ''),\n"
        "  stage('hangs', 'import os, time; print(os.getpid(), flush=True); time.sleep(99)'),\n"
        "  stage('last', '')]\n"
        "sys.exit(gpu_check.main(sys.argv[1:]))\n"
    )
    check = subprocess.Popen(
        [sys.executable, "-c", main, "--device", "cpu", "--output", str(tmp_path)],
        cwd=PROJECT / "tools",
        stdout=subprocess.DEVNULL,
    )
    log = tmp_path / "hangs.log"
    for _ in range(200):
        if log.is_file() and log.read_text().endswith("\n"):
            break
        time.sleep(0.1)
    child = int(log.read_text())
    check.terminate()
    assert check.wait(30) == gpu_check.INTERRUPTED
    assert has_ended(child)
    stages = json.loads((tmp_path / "gpu_check.json").read_text())["stages"]
    assert [stage["state"] for stage in stages] == ["passed", "skipped", "skipped"]
    assert stages[1]["figure"].startswith("interrupted after")


def has_ended(process_id: int) -> bool:
    """Wait for a process that is not ours; an ended one that nobody waited for counts as ended."""
    for _ in range(50):
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def test_what_no_longer_fits_or_lacks_something_is_skipped_with_the_reason(
    run_check: Callable[..., Any],
) -> None:
    found = run_check(
        make_stage("late", "pass", least=100),
        make_stage("lacking", "pass", needs=("json", "no_such_module", "yaml")),
        make_stage("elsewhere", "pass", why_not=lambda setup: "not on this machine"),
        budget=50,
    )
    assert {stage["state"] for stage in found.values()} == {"skipped"}
    assert re.fullmatch(r"\d+ s left, it needs 100", found["late"]["figure"])
    assert found["lacking"]["figure"] == "needs no_such_module"
    assert found["elsewhere"]["figure"] == "not on this machine"


def test_without_a_gpu_only_stages_that_need_none_run(run_check: Callable[..., Any]) -> None:
    found = run_check(
        make_stage("kernels", "pass"),
        make_stage("description", "pass", needs_device=False),
        device="cuda",
    )
    assert found["kernels"]["figure"] == "PyTorch sees no GPU"
    assert found["description"]["state"] == "passed"


def test_stages_that_measure_time_run_alone() -> None:
    names = [[stage.name for stage in group] for group in gpu_check.group_stages(STAGES)]
    assert [name for group in names for name in group] == [stage.name for stage in STAGES]
    alone = {stage.name for stage in STAGES if stage.alone}
    assert {"bench-block", "bench-model", "bench-deform-conv", "quickstart"} <= alone
    assert all(len(group) == 1 for group in names if set(group) & alone)
    assert max(map(len, names)) > 2


def test_results_of_tests_are_counted_and_failures_named(tmp_path: Path) -> None:
    cases = tmp_path / "test_cases.py"
    cases.write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 1 == 2\n"
        "@pytest.mark.skip(reason='no tool')\ndef test_skipped(): pass\n"
    )
    stage = gpu_commands.tests("cases", "", (str(cases),), (), 60)
    setup = Setup("cpu", tmp_path, tmp_path, None, 0)
    status = subprocess.run(
        [sys.executable, *stage.command(setup)], cwd=PROJECT, capture_output=True, check=False
    ).returncode
    outcome = stage.read(setup, status)
    assert outcome.state == "failed"
    assert outcome.figure == "1 passed, 1 failed, 1 skipped: test_bad"
    assert outcome.results["reasons"] == ["no tool"]


def test_a_benchmark_that_failed_hands_on_the_rows_it_has(tmp_path: Path) -> None:
    (stage,) = [stage for stage in STAGES if stage.name == "bench-block"]
    (tmp_path / "bench-block.log").write_text("no memory\n")
    (tmp_path / "cpu").mkdir()
    setup, rows = Setup("cpu", tmp_path, tmp_path, None, 0), [{"pass": "forward"}]
    assert stage.read(setup, 1) == Outcome("failed", "status 1: no memory", None)
    (tmp_path / "cpu" / "block.json").write_text(json.dumps({"rows": rows}))
    for status in (1, gpu_stage.STOPPED):
        assert stage.read(setup, status) == Outcome("failed", f"status {status}: no memory", rows)


def test_a_long_log_keeps_its_end(tmp_path: Path) -> None:
    log = tmp_path / "long.log"
    log.write_text("x" * 2 * gpu_check.LOG_BYTES + "the end")
    gpu_check.shorten(log)
    assert log.stat().st_size < 1.1 * gpu_check.LOG_BYTES
    assert log.read_text().startswith("[the beginning was cut off]")
    assert log.read_text().endswith("the end")


def test_needed_packages_are_those_of_the_installation() -> None:
    setup = (PROJECT / "setup.py").read_text()
    required = re.search(r"install_requires=\[(.*?)\]", setup, re.DOTALL)
    assert required
    packages = set(re.findall(r'"([A-Za-z0-9_-]+)', required[1]))
    named = {gpu_stages.PACKAGES.get(module, module) for module in gpu_stages.DETECTORS}
    assert named == packages | {"portalocker"}


def test_data_that_are_not_there_are_refused_at_once(tmp_path: Path) -> None:
    (stage,) = [stage for stage in STAGES if stage.name == "study"]
    setup = Setup("cpu", tmp_path, tmp_path, tmp_path / "cells", 0)
    assert stage.why_not(setup) == f"--data: there is no {tmp_path / 'cells'}"
    assert stage.why_not(replace(setup, data=tmp_path)) == ""


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_study_takes_the_arguments_of_its_stage(device: str, tmp_path: Path) -> None:
    script, *arguments = gpu_commands.study_command(Setup(device, tmp_path, tmp_path, tmp_path, 0))
    assert script.endswith("study.py") and arguments[-1] == "--hours"
    args = study.parse([*arguments, "0.05"])
    assert (args.device, args.hours, args.tables) == (device, 0.05, ["detectors"])
    assert args.equal == ("steps" if device == "cpu" else "minutes")


def test_runs_of_the_study_survive_tables_that_failed(tmp_path: Path) -> None:
    setup = Setup("cpu", tmp_path / "output", tmp_path, tmp_path, 0)
    setup.output.mkdir()
    (setup.output / "study.log").write_text("no memory\n")
    (tmp_path / "study" / "good").mkdir(parents=True)
    (tmp_path / "study" / "good" / "run.json").write_text('{"AP": 12.5}')
    for name in ("good", "bad"):
        (tmp_path / "study" / f"{name}.log").write_text("its log")
    outcome = gpu_commands.read_study(setup, 1)
    assert outcome == Outcome("failed", "status 1: no memory", {"good": {"AP": 12.5}})
    assert sorted(path.name for path in setup.output.iterdir()) == ["study-bad.log", "study.log"]


def test_a_folder_that_takes_no_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="file takes no files .*: name another folder"):
        gpu_check.main(["--output", str(tmp_path / "file")])


def test_unknown_stages_are_answered_with_the_known_ones() -> None:
    with pytest.raises(SystemExit, match="--stages 'kernel' is unknown: use some of environment"):
        gpu_check.main(["--stages", "kernel"])


def run_on_the_cpu(folder: Path, *arguments: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """Run the command for what it prints, and its stages by name."""
    command = [sys.executable, "tools/gpu_check.py", "--device", "cpu", "--output", str(folder)]
    done = subprocess.run(
        [*command, *arguments], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    stages = json.loads((folder / "gpu_check.json").read_text())["stages"]
    logs = "".join(path.read_text()[-3000:] for path in folder.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    return done.stdout, {stage["stage"]: stage for stage in stages}


def test_the_command_describes_measures_and_ends_with_a_table(tmp_path: Path) -> None:
    printed, stages = run_on_the_cpu(tmp_path, "--stages", "bench-deform-conv,environment")
    assert {stage["state"] for stage in stages.values()} == {"passed"}
    assert stages["environment"]["results"]["device"] == "cpu"
    assert {row["pass"] for row in stages["bench-deform-conv"]["results"]} == {
        "forward",
        "training",
    }
    table = printed.split("\n\n")[-2]
    assert table.splitlines()[0].split() == list(gpu_check.COLUMNS)
    assert (tmp_path / "table.txt").read_text() == table + "\n"


@pytest.mark.slow
def test_every_stage_passes_small_on_the_cpu(tmp_path: Path) -> None:
    """The whole check but the study; kernels in the interpreter."""
    pytest.importorskip("triton")
    _, stages = run_on_the_cpu(tmp_path, "--budget", "3600")
    expected = {stage.name: "passed" for stage in STAGES} | {"study": "skipped"}
    assert {name: stage["state"] for name, stage in stages.items()} == expected
