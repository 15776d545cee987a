"""Calls of an experiment that share files take turns."""

import argparse
import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import peers
import pytest
import study
from one_call import make_call

from dyhead.safe_io.lock import FileLock, LockedError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def hold(path: Path, pipe: Connection) -> None:
    """Say whether a lock can be taken, and hold it until something is said."""
    try:
        with FileLock(path):
            pipe.send("held")
            pipe.recv()
    except LockedError:
        pipe.send("taken")


@contextlib.contextmanager
def another_process(path: Path) -> Iterator[tuple[str, int]]:
    """A process that tries to take a lock: what it says, and its id."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    process = fork.Process(target=hold, args=(path, there))
    process.start()
    assert process.pid
    yield here.recv(), process.pid
    here.send("end")
    process.join()


@pytest.fixture(params=["output/call.lock", "results/.name.lock"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The file of one of the locks of a call."""
    return tmp_path / request.param


@pytest.fixture
def holder(path: Path) -> Iterator[int]:
    """The id of another process, which holds the lock."""
    path.parent.mkdir()
    with another_process(path) as (said, number):
        assert said == "held"
        yield number


class Recorded:
    """An experiment that tries to take a lock while it runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps = ["prepared"]

    def print_plan(self) -> None:
        """Do nothing."""

    def run(self) -> None:
        """Let another process try."""
        with another_process(self.path) as (said, _):
            self.steps.append(said)

    def write_results(self) -> None:
        """Write an empty page."""
        self.steps.append("written")
        (self.path.parents[1] / "results" / "name.md").touch()


def arguments(folder: Path, plan: bool = False) -> argparse.Namespace:
    return argparse.Namespace(
        plan=plan, output=folder / "output", results=folder / "results", name="name"
    )


def test_a_call_holds_its_files_from_the_reading_of_results_to_their_writing(
    path: Path, tmp_path: Path
) -> None:
    experiment = Recorded(path)
    make_call(arguments(tmp_path), lambda: experiment)
    assert experiment.steps == ["prepared", "taken", "written"]
    experiment.run()
    assert experiment.steps[-1] == "held", "when the call is over"


def test_files_that_another_call_holds_are_neither_read_nor_written(
    path: Path, holder: int, tmp_path: Path
) -> None:
    def prepare() -> Recorded:
        raise AssertionError("too early")

    message = f"Another call .process {holder} .* writes to {path.parent} .*another --name"
    with pytest.raises(SystemExit, match=message):
        make_call(arguments(tmp_path), prepare)
    make_call(arguments(tmp_path, plan=True), lambda: Recorded(path))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_call_that_is_ended_writes_its_results(
    number: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, earlier))  # ignores it
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("SIGTERM is not caught"))
    request.addfinalizer(lambda: signal.signal(signal.SIGTERM, before))
    own = signal.getsignal(signal.SIGTERM)
    experiment = Recorded(tmp_path / "results" / ".name.lock")

    def run() -> None:
        os.kill(os.getpid(), number)
        time.sleep(30)

    experiment.run = run  # type: ignore[method-assign]
    with pytest.raises(SystemExit, match="Interrupted: call it again"):
        make_call(arguments(tmp_path), lambda: experiment)
    assert experiment.steps == ["prepared", "written"]
    assert signal.getsignal(signal.SIGTERM) is own


@pytest.mark.parametrize("command", [study, peers])
def test_both_commands_are_refused(command: Any, path: Path, holder: int, tmp_path: Path) -> None:
    places = ["--output", str(tmp_path / "output"), "--results", str(tmp_path / "results")]
    with pytest.raises(SystemExit, match="Another call"):
        command.main(["--data", str(tmp_path), "--name", "name", *places])
