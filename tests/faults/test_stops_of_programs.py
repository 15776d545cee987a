"""Signals stop whole programs in good order: one process, several, and with loader workers."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from shown_faults import ShownFault
from small_program import call, command_line, log_of, start, wait_for

from dyhead.d2 import HOST

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="needs signals between processes"),
]
several_on_the_cpu = pytest.mark.skipif(
    HOST == "detectron2", reason="genuine Detectron2 trains several processes on GPUs only"
)
STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 143}
LONG = ["SOLVER.MAX_ITER", "100000", "SOLVER.CHECKPOINT_PERIOD", "3"]
UNDER_TORCHRUN = ["-m", "torch.distributed.run", "--nproc_per_node", "2"]


def processes(*columns: str) -> list[list[str]]:
    """These columns of all processes, and their command lines, without those that have ended."""
    options = [part for column in ("stat", *columns, "args") for part in ("-o", f"{column}=")]
    found = subprocess.run(["ps", "-e", *options], capture_output=True, text=True, check=True)
    rows = [line.split(None, len(columns) + 1) for line in found.stdout.splitlines()]
    assert any(str(os.getpid()) in row for row in rows) or "pid" not in columns
    return [row[1:] for row in rows if not row[0].startswith("Z")]


def group_of(process: subprocess.Popen[str]) -> list[str]:
    """Command lines of what is left of a group of processes."""
    return [args for group, args in processes("pgid") if group == str(process.pid)]


def left_of(process: subprocess.Popen[str]) -> list[str]:
    """The rest of a group after a while: one that is ending may outlive its parent a little."""
    deadline = time.monotonic() + 20
    while (left := group_of(process)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def saved_steps(folder: Path) -> tuple[int, str]:
    """Steps that the tagged checkpoint of a run tells, and its name."""
    name = (folder / "last_checkpoint").read_text()
    return torch.load(folder / name, weights_only=True)["iteration"] + 1, name


def assert_stopped(folder: Path, name: str) -> int:
    steps, file = saved_steps(folder)
    assert f"Stopped by {name} at step {steps}, saved {folder}/{file}" in log_of(folder)
    return steps


def names(*numbers: signal.Signals, suffix: str = "") -> list[Any]:
    """Signals, each with the name of its fault."""
    marks = [pytest.mark.fault(f"{number.name}{suffix}") for number in numbers]
    named = zip(numbers, marks, strict=True)
    return [pytest.param(number, marks=mark, id=number.name) for number, mark in named]


@pytest.mark.parametrize("number", names(*STATUS))
@pytest.mark.parametrize("to_group", [False, True], ids=["to the program", "to its whole group"])
def test_a_signal_saves_the_step_with_loader_workers(
    tmp_path: Path, number: signal.Signals, to_group: bool, fault: ShownFault
) -> None:
    line = [*command_line(tmp_path), *LONG, "DATALOADER.NUM_WORKERS", "2"]
    process = start(line)
    wait_for(process, "model_0000002.pth")
    assert len(group_of(process)) >= 3  # the program and its loader workers
    (os.killpg if to_group else os.kill)(process.pid, number)
    output = process.communicate(timeout=120)[0]
    with fault.clear():
        assert process.returncode == STATUS[number] and "Traceback" not in output, output
        steps = assert_stopped(tmp_path / "run", number.name)
    with fault.survived():
        assert not left_of(process)
        done = call(["--resume", *line, "SOLVER.MAX_ITER", str(steps + 1)])
        assert done.returncode == 0, done.stderr
    with fault.nothing_lost():  # no step is done again
        assert f"Starting training from iteration {steps}" in log_of(tmp_path / "run")


@several_on_the_cpu
@pytest.mark.parametrize(
    "number", names(signal.SIGTERM, signal.SIGINT, suffix=" to the parent of several processes")
)
@pytest.mark.parametrize("way", ["launcher", "torchrun"])
def test_a_signal_to_the_parent_of_several_processes_saves_the_step(
    tmp_path: Path, way: str, number: signal.Signals, fault: ShownFault
) -> None:
    line = [*command_line(tmp_path), *LONG]
    process = (
        start(line, *UNDER_TORCHRUN) if way == "torchrun" else start(["--num-gpus", "2", *line])
    )
    wait_for(process, "model_0000002.pth")
    os.kill(process.pid, number)
    output = process.communicate(timeout=120)[0]
    with fault.survived():
        assert not left_of(process)
    with fault.clear():
        if way == "launcher":
            assert process.returncode == STATUS[number], output
            assert "Traceback" not in output
        else:
            assert process.returncode != 0
    with fault.nothing_lost():
        assert assert_stopped(tmp_path / "run", number.name) >= 3


@several_on_the_cpu
@pytest.mark.fault("SIGTERM to one of several processes")
def test_a_signal_to_one_of_several_processes_stops_all(tmp_path: Path, fault: ShownFault) -> None:
    process = start([*command_line(tmp_path), *LONG, "--num-gpus", "2"])
    wait_for(process, "model_0000002.pth")
    listed = processes("pid", "ppid")
    ranks = [pid for pid, ppid, args in listed if ppid == str(process.pid) and "spawn" in args]
    os.kill(int(ranks[-1]), signal.SIGTERM)
    output = process.communicate(timeout=120)[0]
    with fault.clear():
        assert process.returncode == 143 and "Traceback" not in output, output
    with fault.survived():
        assert not left_of(process)
    with fault.nothing_lost():
        assert assert_stopped(tmp_path / "run", "SIGTERM") >= 3


@pytest.mark.fault("Ctrl-C twice")
def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, fault: ShownFault) -> None:
    line = command_line(tmp_path)
    assert call(line).returncode == 0
    saved = saved_steps(tmp_path / "run")
    process = start(["--resume", *line, *LONG, "SOLVER.IMS_PER_BATCH", "400"])
    wait_for(process, "Starting training from iteration 2")
    time.sleep(1)
    os.kill(process.pid, signal.SIGINT)
    time.sleep(1.5)
    os.kill(process.pid, signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    with fault.clear():
        assert process.returncode == 130 and "Traceback" not in output, output
        assert "Stopped by" not in output and "Ctrl-C again" in output
    with fault.nothing_lost():
        assert saved_steps(tmp_path / "run") == saved
    with fault.survived():
        assert call(["--resume", *line, "SOLVER.MAX_ITER", "3"]).returncode == 0


@pytest.mark.fault("two runs in one folder")
def test_a_second_run_in_the_folder_is_refused_and_the_first_not_disturbed(
    tmp_path: Path, fault: ShownFault
) -> None:
    line = [*command_line(tmp_path), *LONG]
    process = start(line)
    wait_for(process, "model_0000002.pth")
    refused = call(["--resume", *line])
    with fault.clear():
        assert refused.returncode == 1
        last = refused.stderr.strip().splitlines()[-1]
        assert re.match(rf"Error: .*is in use by another run \(process {process.pid} on .*\)", last)
    with fault.survived():
        assert process.poll() is None
        process.terminate()
        process.communicate(timeout=120)
        assert process.returncode == 143
    with fault.nothing_lost():
        assert assert_stopped(tmp_path / "run", "SIGTERM") >= 3
        assert "Traceback" not in log_of(tmp_path / "run")


@pytest.mark.fault("kill -9 of a run, whose loader workers live on")
def test_a_killed_run_goes_on_at_once(tmp_path: Path, fault: ShownFault) -> None:
    line = [*command_line(tmp_path), *LONG, "DATALOADER.NUM_WORKERS", "2"]
    process = start(line)
    wait_for(process, "model_0000002.pth")
    process.kill()  # its loader workers live on for a while
    process.wait()
    with fault.nothing_lost():
        steps, _ = saved_steps(tmp_path / "run")
        assert steps >= 3
    done = call(["--resume", *line, "SOLVER.MAX_ITER", str(steps + 1)])
    with fault.survived():
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in log_of(tmp_path / "run")
    with fault.clear():
        assert f"Starting training from iteration {steps}" in log_of(tmp_path / "run")
