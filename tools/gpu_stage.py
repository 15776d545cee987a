"""A stage of `gpu_check.py`, the circumstances that it is given, and its outcome.

Like that script it uses the standard library alone: it has to run where packages are missing.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
STOPPED = 2  # exit status of pytest when it was interrupted, here of every stopped stage


@dataclass(frozen=True)
class Setup:
    """The circumstances that the stages of one run share.

    Attributes:
        device: "cuda" or "cpu".
        output: the folder of all results.
        scratch: a folder for what is too large to keep.
        data: a folder of labelled pictures, or None.
        num_gpus: GPUs of this machine; 0 on a CPU.
    """

    device: str
    output: Path
    scratch: Path
    data: Path | None
    num_gpus: int

    @property
    def is_small(self) -> bool:
        """True where the stages are only to be proven, at tiny sizes."""
        return self.device == "cpu"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a stage.

    Attributes:
        state: "passed", "failed" or "skipped".
        figure: one line for the table: counts, ratios, scores, or a reason.
        results: plain values for gpu_check.json.
    """

    state: str
    figure: str
    results: Any = None


@dataclass(frozen=True)
class Stage:
    """One part of the check, run as a process of its own.

    Attributes:
        name: for --stages and the table.
        text: what it shows, in a few words.
        command: arguments of Python.
        read: its outcome, from the exit status and what it left.
        needs: modules without which it is skipped.
        limit: seconds after which it is stopped.
        least: seconds without which it is not begun.
        alone: nothing runs beside it, since it measures time.
        interpreted: on a CPU its kernels run in Triton's interpreter.
        needs_device: it is skipped where --device is not there.
        why_not: why this machine cannot run it, or "".
        leaves: the file in the output folder from which its outcome is read, if there is one.
    """

    name: str
    text: str
    command: Callable[[Setup], list[str]]
    read: Callable[[Setup, int], Outcome]
    needs: tuple[str, ...]
    limit: int
    least: int
    alone: bool = False
    interpreted: bool = False
    needs_device: bool = True
    why_not: Callable[[Setup], str] = lambda setup: ""
    leaves: Callable[[Setup], Path | None] = lambda setup: None


def state_of(status: int) -> str:
    """Return "passed" or "failed" by an exit status."""
    return "passed" if status == 0 else "failed"


def last_line(setup: Setup, name: str) -> str:
    """Return the last line in a stage's log that is not empty."""
    text = (setup.output / f"{name}.log").read_text(encoding="utf-8", errors="replace")
    lines = (line.strip() for line in reversed(text.split("\n")))
    return next((line for line in lines if line), "its log is empty")


def failed(setup: Setup, name: str, status: int, results: Any = None) -> Outcome:
    """Return the outcome of a stage that ended with a status, or without results."""
    return Outcome("failed", f"status {status}: {last_line(setup, name)}", results)


def python() -> str:
    """Return the interpreter that runs the stages: this one."""
    return sys.executable
