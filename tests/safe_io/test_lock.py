"""A lock excludes other processes, names its holder, and ends with it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from script_runs import environment

from dyhead.safe_io.lock import FileLock, LockedError

HOLD = """
import sys, time, os
from dyhead.safe_io.lock import FileLock
lock = FileLock(sys.argv[1])
child = os.fork() if len(sys.argv) > 2 else None
if child != 0:
    print(child, flush=True)
time.sleep(60)
"""


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(folder / "lock"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())


def told(process: subprocess.Popen[str]) -> str:
    """Return the first line of the holder of the lock: the number of its child, or None."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_another_process_is_named_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert told(process) == "None"
    try:
        with pytest.raises(LockedError, match=f"locked by process {process.pid} on .*since 20"):
            FileLock(tmp_path / "lock")
    finally:
        process.kill()
        process.wait()
    FileLock(tmp_path / "lock").release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_that_is_left_over_does_not_keep_the_lock(tmp_path: Path) -> None:
    process = start(tmp_path, "fork")
    child = int(told(process))
    process.kill()
    process.wait()
    try:
        FileLock(tmp_path / "lock").release()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock"):
        assert str(os.getpid()) in (tmp_path / "lock").read_text()
    assert (tmp_path / "lock").read_text() == ""
    FileLock(tmp_path / "lock").release()


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "missing" / "lock")
