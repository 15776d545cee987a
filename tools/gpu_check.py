#!/usr/bin/env python3
"""Prove that DyHead works on this machine's GPU, and how fast: `python tools/gpu_check.py`.

It takes the Python and the packages that are there, installs nothing and needs no network. Every
stage is a process of its own with a time limit; what fails or hangs stops no other stage. Results
go to one folder: gpu_check.json and a log of every stage. docs/gpu.md says how to read them.

    python tools/gpu_check.py --budget 480
    python tools/gpu_check.py --stages environment,block --output results
    python tools/gpu_check.py --device cpu --budget 240    # proves the check itself, at tiny sizes
"""

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpu_stage import PROJECT, STOPPED, Outcome, Setup, Stage, last_line, python
from gpu_stages import PACKAGES, STAGES

BUDGET = 480  # seconds
LOG_BYTES = 300_000  # that a log keeps of its end
GRACE = 10  # seconds between asking a process to end (pytest then leaves its results) and ending it
COUNTING = 90  # seconds for PyTorch to be imported and to count GPUs
INTERRUPTED = 130  # exit status, as of a shell
COLUMNS = ("stage", "passed", "failed", "skipped", "seconds", "figure")


@dataclass(frozen=True)
class Result:
    """One stage's line in the table and in gpu_check.json."""

    stage: str
    text: str
    state: str  # "passed", "failed" or "skipped"
    seconds: float
    figure: str
    results: Any = None


class Check:
    """Runs stages one after the other, or beside each other, and keeps what they gave.

    Attributes:
        results: by stage, in the order in which they ended.
        interrupted: set by Ctrl-C and by SIGTERM; then what runs is ended, and nothing is begun.
    """

    def __init__(self, setup: Setup, stages: Sequence[Stage], budget: float, jobs: int) -> None:
        self.setup, self.stages, self.jobs = setup, stages, jobs
        self.interrupted = threading.Event()
        self.writing = threading.Lock()
        self.started = time.time()
        self.deadline = time.monotonic() + budget
        self.budget = budget
        self.results: dict[str, Result] = {}

    def run(self) -> list[Result]:
        """Run every stage that fits, and write gpu_check.json as soon as each has ended."""
        # A shell's background job ignores SIGINT, and so would its children, which are ended by it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.write()
        for group in group_stages(self.stages):
            with ThreadPoolExecutor(1 if len(group) == 1 else self.jobs) as pool:
                stages = [pool.submit(self.run_stage, stage) for stage in group]
                try:
                    for stage in stages:
                        stage.result()
                except KeyboardInterrupt:
                    print("interrupted: what runs is ended", flush=True)
                    self.interrupted.set()
        return self.in_order()

    def in_order(self) -> list[Result]:
        """Return the results that there are by now, in the order of the stages."""
        return [self.results[s.name] for s in self.stages if s.name in self.results]

    def run_stage(self, stage: Stage) -> Result:
        """Run one stage, or say why not."""
        start = time.monotonic()
        try:
            outcome = self._why_skipped(stage) or self._run_process(stage)
        except Exception as error:  # a stage's broken results must not stop the others
            outcome = Outcome("failed", f"{type(error).__name__}: {error}")
        seconds = time.monotonic() - start
        result = Result(stage.name, stage.text, outcome.state, seconds, *_line_and_rest(outcome))
        print(f"{stage.name}: {result.state}, {seconds:.0f} s, {result.figure}", flush=True)
        with self.writing:
            self.results[stage.name] = result
            self.write()
        return result

    def _why_skipped(self, stage: Stage) -> Outcome | None:
        left = self.deadline - time.monotonic()
        if self.interrupted.is_set():
            return Outcome("skipped", "interrupted")
        if missing := [name for name in stage.needs if not _is_there(name)]:
            return Outcome("skipped", f"needs {', '.join(map(_package, missing))}")
        if self.setup.device == "cuda" and not self.setup.num_gpus and stage.needs_device:
            return Outcome("skipped", "PyTorch sees no GPU")
        if reason := stage.why_not(self.setup):
            return Outcome("skipped", reason)
        if left < stage.least:
            return Outcome("skipped", f"{max(0, left):.0f} s left, it needs {stage.least}")
        return None

    def _run_process(self, stage: Stage) -> Outcome:
        limit = min(stage.limit, self.deadline - time.monotonic())
        command = [python(), *stage.command(self.setup)]
        if command[-1] == "--hours":  # a stage that fits its own work into the time
            command.append(f"{max(1.0, limit - 15) / 3600:.5f}")
        if (old := stage.leaves(self.setup)) is not None:
            old.unlink(missing_ok=True)  # or an earlier check's results would be taken for these
        log = self.setup.output / f"{stage.name}.log"
        environment = _environment(self.setup, stage, self.jobs)
        start = time.monotonic()
        status = run_limited(command, log, limit, environment, self.interrupted.is_set)
        shorten(log)
        if status is None:
            seconds = min(limit, time.monotonic() - start)
            return self._stopped(stage, limit == stage.limit, seconds)
        return stage.read(self.setup, status)

    def _stopped(self, stage: Stage, was_slow: bool, seconds: float) -> Outcome:
        """Return the outcome of a stage that was stopped: too slow, hung, or out of budget."""
        state, reason = "skipped", "the budget ended"
        if self.interrupted.is_set():
            reason = "interrupted"
        elif was_slow:
            state, reason = "failed", "stopped"
        partial = None
        with contextlib.suppress(Exception):  # whatever was half written
            partial = stage.read(self.setup, STOPPED).results
        if isinstance(partial, dict) and partial.get("failed"):
            state = "failed"
        line = last_line(self.setup, stage.name)
        return Outcome(state, f"{reason} after {seconds:.0f} s: {line}", partial)

    def write(self) -> None:
        """Write gpu_check.json anew: it is complete at any moment."""
        content = {
            "command": sys.argv,
            "started": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.started)),
            "python": platform.python_version(),
            "system": platform.platform(),
            "device": self.setup.device,
            "budget": self.budget,
            "seconds": round(time.time() - self.started, 1),
            "missing packages": _missing(self.stages),
            "stages": [asdict(result) for result in self.in_order()],
        }
        path = self.setup.output / "gpu_check.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)


def group_stages(stages: Sequence[Stage]) -> Iterator[list[Stage]]:
    """Group stages that may run beside each other; one that measures time runs alone."""
    group: list[Stage] = []
    for stage in stages:
        if stage.alone and group:
            yield group
            group = []
        group.append(stage)
        if stage.alone:
            yield group
            group = []
    if group:
        yield group


def _line_and_rest(outcome: Outcome) -> tuple[str, Any]:
    return " ".join(outcome.figure.split())[:400], outcome.results


def run_limited(
    command: Sequence[str],
    log: Path,
    seconds: float,
    environment: dict[str, str],
    must_end: Callable[[], bool] = lambda: False,
) -> int | None:
    """Run a command in a process group of its own, both its outputs going to `log`.

    Returns:
        The exit status, or None if it was stopped, with everything that it had started, after
        `seconds` or because it `must_end`.
    """
    end = time.monotonic() + max(1.0, seconds)
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=PROJECT,
            env=environment,
            start_new_session=True,
        )
        try:
            while time.monotonic() < end and not must_end():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(min(0.2, max(0.0, end - time.monotonic())))
            return None
        finally:
            _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children: first politely, so that its log has a traceback.

    One that waits within the GPU's driver may not end at all; then it is left behind.
    """
    if not hasattr(os, "killpg"):  # Windows
        process.kill()
    else:
        if process.poll() is None:
            _signal_group(process, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
        _signal_group(process, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def shorten(log: Path) -> None:
    """Keep the end of a log that is too large to be mailed."""
    if log.stat().st_size > LOG_BYTES:
        with log.open("rb") as file:
            file.seek(-LOG_BYTES, os.SEEK_END)
            end = file.read()
        log.write_bytes(b"[the beginning was cut off]\n" + end)


def _environment(setup: Setup, stage: Stage, jobs: int) -> dict[str, str]:
    """Return a stage's environment, in which the project is importable without installation."""
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    environment["PYTHONFAULTHANDLER"] = "1"  # a crash leaves a traceback
    for name in ("TRITON_INTERPRET", "DYHEAD_DEFORM_CONV", "PYTEST_ADDOPTS"):
        environment.pop(name, None)  # which would change what is tested
    if not stage.alone:  # several stages share the cores
        environment.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // jobs)))
    if setup.is_small:  # on one thread: at these sizes more only wait
        environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        if stage.interpreted:
            environment["TRITON_INTERPRET"] = "1"
    return environment


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _package(module: str) -> str:
    return PACKAGES.get(module, module)


def _missing(stages: Sequence[Stage]) -> list[str]:
    """List packages that stages need and this Python lacks."""
    needed = dict.fromkeys(name for stage in stages for name in stage.needs)
    return [_package(name) for name in needed if not _is_there(name)]


def count_gpus() -> int:
    """Count the GPUs that PyTorch sees, in another process: this one must not hold a context."""
    script = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    try:
        found = subprocess.run(
            [python(), "-c", script], capture_output=True, text=True, timeout=COUNTING
        )
    except subprocess.TimeoutExpired:
        print(f"PyTorch did not count the GPUs within {COUNTING} s.", flush=True)
        return 0
    last = found.stdout.split()[-1:]
    return int(last[0]) if found.returncode == 0 and last else 0


def _jobs(device: str) -> int:
    """Return the number of test stages at a time; one on a GPU keeps two cores busy."""
    return max(1, min(6, _cores() // 2 if device == "cuda" else _cores()))


def _cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_folder(path: Path) -> Path:
    """Make the folder of all results, in which files can be written.

    Raises:
        SystemExit: they cannot.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise SystemExit(
            f"--output {path} takes no files ({error.strerror}): name another folder."
        ) from None


def format_table(results: Sequence[Result]) -> str:
    """Lay the results out in columns."""
    rows = [list(COLUMNS)]
    for result in results:
        marks = ["x" if result.state == state else "" for state in COLUMNS[1:4]]
        rows.append([result.stage, *marks, f"{result.seconds:.0f}", result.figure])
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS) - 1)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True))
        + f"  {row[-1]}"
        for row in rows
    ]
    return "\n".join([lines[0], "-" * min(100, max(map(len, lines))), *lines[1:]])


def choose_stages(text: str) -> list[Stage]:
    """Select the stages of a comma-separated list, in the check's own order; "" for all.

    Raises:
        SystemExit: a name is unknown.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = [stage.name for stage in STAGES]
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"--stages {unknown[0]!r} is unknown: use some of {', '.join(known)}.")
    return [stage for stage in STAGES if not names or stage.name in names]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        epilog="stages:\n" + "\n".join(f"  {s.name:18} {s.text}" for s in STAGES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stages", default="", metavar="A,B", help="only these; default: all")
    parser.add_argument(
        "--budget",
        type=float,
        default=BUDGET,
        metavar="SECONDS",
        help="of the whole check: what no longer fits is skipped (default: %(default)s)",
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--output", type=Path, default=Path("gpu_check"), metavar="FOLDER")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="with labelled pictures")
    parser.add_argument(
        "--jobs",
        type=int,
        default=0,
        help="test stages at a time (default: one for two cores, on a CPU for each; at most 6)",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; 0 where no stage failed and at least one passed, 130 on Ctrl-C, else 1."""
    args = parse(arguments)
    stages = choose_stages(args.stages)
    output = make_folder(args.output.resolve())
    begun = time.monotonic()
    for name in _missing(stages):
        print(f"missing package: {name}", flush=True)
    num_gpus = count_gpus() if args.device == "cuda" and _is_there("torch") else 0
    if args.device == "cuda" and not num_gpus:
        print("PyTorch sees no GPU here: --device cpu proves the check itself.", flush=True)
    data = None if args.data is None else args.data.resolve()
    with tempfile.TemporaryDirectory(prefix="gpu_check", ignore_cleanup_errors=True) as scratch:
        setup = Setup(args.device, output, Path(scratch), data, num_gpus)
        budget = args.budget - (time.monotonic() - begun)
        check = Check(setup, stages, budget, max(1, args.jobs or _jobs(args.device)))
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # or stages would outlive this
        results = check.run()
    table = format_table(results)
    print(f"\n{table}\n\nAll of it: {output}", flush=True)
    (output / "table.txt").write_text(table + "\n", encoding="utf-8")
    if check.interrupted.is_set():
        return INTERRUPTED
    states = [result.state for result in results]
    return 0 if "passed" in states and "failed" not in states else 1


if __name__ == "__main__":
    sys.exit(main())
