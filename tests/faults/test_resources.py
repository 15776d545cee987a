"""A machine that lacks something ends a run in a sentence; nothing is lost, left over or hangs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from shown_faults import ShownFault
from small_program import command_line, start
from small_program import wait_for as read_until
from tiny_training import run_training, sentence_of, start_training

from dyhead.d2 import HOST

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="limits and processes are Linux's"),
]
several_on_cpu = pytest.mark.skipif(
    HOST == "detectron2", reason="genuine Detectron2 trains several processes on GPUs only"
)
AS_NOBODY = """
import os, runpy
import dyhead.engine.train_net  # while all of Python's own files can be read
os.setuid(65534)
"""
# Limits the memory of a process to what it has after its imports, and some more.
LITTLE_MEMORY = """
import resource
import dyhead.engine.train_net
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20),) * 2)
"""
SMALL_FILES = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"
SLOW_DISK = """
import os, time
import PIL.Image
open_at_once = PIL.Image.open
def open_late(*args, **options):
    while os.path.exists({hangs!r}):
        time.sleep(0.1)
    return open_at_once(*args, **options)
PIL.Image.open = open_late
"""
NO_THREADS = """
import threading
def refuse(self): raise RuntimeError("can't start new thread")
import dyhead.engine.train_net
threading.Thread.start = refuse
"""
UNDER_TORCHRUN = ["-m", "torch.distributed.run", "--nproc_per_node", "2"]
LONG = ["SOLVER.MAX_ITER", "100000", "SOLVER.CHECKPOINT_PERIOD", "2"]


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    return command_line(tmp_path)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def finish(process: subprocess.Popen[str], seconds: float = 120) -> str:
    said, _ = process.communicate(timeout=seconds)
    return said


def steps_saved(run: Path) -> int:
    """Load what last_checkpoint names, as a resumed run would, and return its iteration."""
    latest = run / (run / "last_checkpoint").read_text()
    return torch.load(latest, weights_only=True)["iteration"]


@pytest.mark.fault("no room on the disk for a checkpoint")
def test_no_room_for_a_checkpoint(arguments: list[str], tmp_path: Path, fault: ShownFault) -> None:
    assert run_training(arguments)[0] == 0
    before = steps_saved(tmp_path / "run")
    status, said = run_training([*arguments, "--resume", "SOLVER.MAX_ITER", "4"], SMALL_FILES)
    with fault.clear():
        assert status == 1
        assert sentence_of(said).startswith(f"Error: No room for {tmp_path}/run/model_0000002.pth")
    with fault.nothing_lost():
        assert steps_saved(tmp_path / "run") == before
    with fault.survived():
        assert not list((tmp_path / "run").glob(".*.tmp"))
        assert run_training([*arguments, "--resume", "SOLVER.MAX_ITER", "4"])[0] == 0


@pytest.mark.fault("no memory")
def test_no_memory(arguments: list[str], tmp_path: Path, fault: ShownFault) -> None:
    assert run_training(arguments)[0] == 0
    before = steps_saved(tmp_path / "run")
    arguments = ["--resume", *arguments, "SOLVER.MAX_ITER", "4"]
    large = ["INPUT.MIN_SIZE_TRAIN", "(8000,)", "INPUT.MAX_SIZE_TRAIN", "8000"]
    status, said = run_training([*arguments, *large], LITTLE_MEMORY)
    with fault.clear():
        assert status == 1
        assert sentence_of(said).startswith("Error: Out of memory")
        assert "MiB are free" in said and "lower SOLVER.IMS_PER_BATCH" in said
    with fault.nothing_lost():
        assert steps_saved(tmp_path / "run") == before
    with fault.survived():
        assert run_training(arguments)[0] == 0


@pytest.mark.fault("no further threads")
def test_no_threads(arguments: list[str], tmp_path: Path, fault: ShownFault) -> None:
    assert run_training(arguments)[0] == 0
    before = steps_saved(tmp_path / "run")
    arguments = ["--resume", *arguments, "SOLVER.MAX_ITER", "4"]
    status, said = run_training([*arguments, "DATALOADER.NUM_WORKERS", "1"], NO_THREADS)
    with fault.clear():
        assert status == 1
        assert sentence_of(said).startswith("Error: The system starts no further thread or process")
    with fault.nothing_lost():
        assert steps_saved(tmp_path / "run") == before
    with fault.survived():
        assert run_training(arguments)[0] == 0


@pytest.fixture
def with_workers(arguments: list[str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A long training with two loader workers, which has saved a checkpoint already."""
    workers = ["DATALOADER.NUM_WORKERS", "2", "DATALOADER.TIMEOUT", "8"]
    code = SLOW_DISK.format(hangs=str(tmp_path / "the disk hangs"))
    process = start_training([*arguments, *workers, *LONG], code)
    try:
        wait_for((tmp_path / "run" / "last_checkpoint").exists)
        yield process
    finally:
        process.kill()


@pytest.mark.fault("a killed loader worker")
def test_a_loader_worker_is_killed(
    with_workers: subprocess.Popen[str], tmp_path: Path, fault: ShownFault
) -> None:
    children = children_of(with_workers.pid)
    os.kill(children[0], signal.SIGKILL)
    said = finish(with_workers)
    with fault.clear():
        assert with_workers.returncode == 1
        assert sentence_of(said).startswith("Error: A loader worker (process")
    with fault.survived():
        wait_for(lambda: not any(map(is_alive, children)), 30)
    with fault.nothing_lost():
        assert steps_saved(tmp_path / "run") > 0


@pytest.mark.fault("a disk of images that does not answer any more")
def test_the_disk_of_the_images_does_not_answer(
    with_workers: subprocess.Popen[str], tmp_path: Path, fault: ShownFault
) -> None:
    (tmp_path / "the disk hangs").touch()
    children = children_of(with_workers.pid)
    said = finish(with_workers)
    with fault.clear():
        assert with_workers.returncode == 1
        assert sentence_of(said).startswith("Error: The loader workers gave no image for 8 s")
    with fault.survived():
        wait_for(lambda: not any(map(is_alive, children)), 30)
    with fault.nothing_lost():
        assert steps_saved(tmp_path / "run") > 0


@pytest.mark.fault("a killed process of several, own launcher")
@several_on_cpu
def test_one_of_several_processes_is_killed(
    arguments: list[str], tmp_path: Path, fault: ShownFault
) -> None:
    process = start_training([*arguments, "--num-gpus", "2", "MODEL.DEVICE", "cpu", *LONG])
    wait_for((tmp_path / "run" / "last_checkpoint").exists)
    ranks = [pid for pid in children_of(process.pid) if b"spawn_main" in cmdline(pid)]
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    said = finish(process)
    with fault.clear():
        assert process.returncode == 1
        last = said.strip().splitlines()[-1]
        assert last.startswith(("Error: Process 1 of the run", "Error: Another process of this"))
    with fault.survived():
        wait_for(lambda: not any(map(is_alive, ranks)), 40)
    with fault.nothing_lost():
        assert steps_saved(tmp_path / "run") > 0


@pytest.mark.fault("a killed launcher of several processes")
@several_on_cpu
def test_the_process_that_started_the_others_is_killed(
    arguments: list[str], tmp_path: Path, fault: ShownFault
) -> None:
    process = start_training([*arguments, "--num-gpus", "2", "MODEL.DEVICE", "cpu", *LONG])
    wait_for((tmp_path / "run" / "last_checkpoint").exists)
    children = children_of(process.pid)
    process.kill()
    process.wait()
    with fault.survived():
        wait_for(lambda: not any(map(is_alive, children)), 60)
    with fault.nothing_lost():
        steps = steps_saved(tmp_path / "run") + 1
        assert steps > 1
    with fault.clear():  # nobody was there to tell at the time: the next run says where it goes on
        status, said = run_training(["--resume", *arguments, "SOLVER.MAX_ITER", str(steps + 1)])
        assert status == 0 and f"Starting training from iteration {steps}" in said


@pytest.mark.fault("a folder that cannot be written, at --resume")
@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs to become another user")
def test_a_folder_that_cannot_be_written(
    arguments: list[str], tmp_path: Path, fault: ShownFault
) -> None:
    assert run_training(arguments)[0] == 0
    for folder in (tmp_path, *tmp_path.parents[:-2]):  # let others in, to look
        folder.chmod(0o755)
    before = steps_saved(tmp_path / "run")
    resumed = [*arguments, "--resume", "SOLVER.MAX_ITER", "4"]
    status, said = run_training(resumed, AS_NOBODY, HOME=str(tmp_path))
    with fault.clear():
        assert status == 1
        assert sentence_of(said).startswith("Error: OUTPUT_DIR cannot be written")
    with fault.nothing_lost():
        assert steps_saved(tmp_path / "run") == before
    with fault.survived():
        assert run_training(resumed)[0] == 0


@pytest.mark.fault("a killed process of several, torchrun")
@several_on_cpu
def test_one_of_torchruns_processes_is_killed(tmp_path: Path, fault: ShownFault) -> None:
    line = ["--resume", *command_line(tmp_path), "SOLVER.MAX_ITER", "40"]
    process = start(line, *UNDER_TORCHRUN)
    read_until(process, "model_0000003.pth")
    ranks = children_of(process.pid)
    os.kill(ranks[-1], signal.SIGKILL)
    said = finish(process, 240)
    with fault.clear():
        assert process.returncode == 1 and "Signal 9 (SIGKILL)" in said
    with fault.nothing_lost():
        steps = steps_saved(tmp_path / "run") + 1
        assert steps >= 4
    with fault.survived():
        assert not any(map(is_alive, ranks))
        again = start(line, *UNDER_TORCHRUN)
        said = finish(again, 240)
        assert again.returncode == 0, said
        assert f"Starting training from iteration {steps}" in said
        assert steps_saved(tmp_path / "run") == 39


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
