"""Runs commands of an experiment one after the other, or some at a time, within a budget of time.

A run that is complete has a file `run.json` in its folder and is not repeated.
"""

import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from run_results import DONE, Result, result_in, scores_line

from dyhead.safe_io.json_text import write_json

HANGS_AFTER = 900.0  # seconds without a word in its log
GRACE = 5.0  # seconds between asking a process to end and ending it


@dataclass(frozen=True)
class Job:
    """A command of a process of its own that leaves a result.

    Attributes:
        title: for people.
        command: the program and its arguments.
        folder: of its files; the log stands beside it, and grows as long as the command is alive.
        seconds: that it is expected to take.
        read: finds the result in the folder when the command has succeeded: plain values, with the
            scores "AP" and "AP50".
        kind: where a job of a kind fails, the others of it are expected to fail as soon; none if
            empty.
        changed: says why the command no longer does what its folder is named for, and gives "" as
            long as it does; asked before it begins and when it has ended, by one job at a time.
    """

    title: str
    command: tuple[str, ...]
    folder: Path
    seconds: float
    read: Callable[[Path], Result]
    kind: str = ""
    changed: Callable[[], str] = str

    @property
    def log(self) -> Path:
        """The file of what the command prints."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def result(self) -> Result | None:
        """Return the result of a complete run."""
        return result_in(self.folder)


class Runner:
    """Runs jobs, as many at a time as it is told, as long as the budget has room for them.

    Attributes:
        failures: why every job failed that did, such as the last line of its log, by its title.

    Args:
        groups: jobs that say little without each other; a group is begun only if all of it fits.
        budget: seconds.
        workers: jobs at a time.
        environment: variables of the processes besides those of this one.
        report: called after each job that was complete.
        compares: tells of a result whether new jobs take as long: those that are complete show it.
        needs_all: skips the rest of a group where one of its jobs has failed.
    """

    def __init__(
        self,
        groups: Iterable[Sequence[Job]],
        budget: float,
        workers: int = 1,
        environment: Mapping[str, str] | None = None,
        report: Callable[[], None] = lambda: None,
        compares: Callable[[Result], bool] = lambda result: True,
        needs_all: bool = False,
    ) -> None:
        self.failures: dict[str, str] = {}
        self._groups = [list(group) for group in groups]
        self._deadline = time.monotonic() + budget
        self._workers = workers
        self._environment = {**os.environ, **(environment or {})}
        self._report = report
        self._needs_all = needs_all
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._begun: set[Path] = set()
        known = ((job, job.result() or {}) for job in _unique(self._groups))
        self._paces = [  # seconds taken over those expected
            result["seconds"] / job.seconds
            for job, result in known
            if "seconds" in result and compares(result)
        ]
        self._failed_after: dict[str, float] = {}  # seconds, by kind

    def run(self) -> None:
        """Run what is not complete.

        Raises:
            KeyboardInterrupt: after Ctrl-C, when the processes have ended.
        """
        queue = self._jobs_that_fit()
        with ThreadPoolExecutor(self._workers) as pool:
            workers = [pool.submit(self._work, queue) for _ in range(self._workers)]
            try:
                for worker in workers:
                    worker.result()
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """End what runs, and begin nothing more."""
        self._stop.set()

    def seconds_left(self) -> float:
        """Estimate how long the rest would take, without a budget."""
        groups = [group for group in self._groups if not self._failed_in(group)]
        rest = [job for job in _unique(groups) if job.result() is None]
        return sum(map(self.expected, rest)) / self._workers

    def expected(self, job: Job) -> float:
        """Return the seconds that a job is expected to take, by what others took."""
        if job.title in self.failures:
            return 0.0
        return self._failed_after.get(job.kind, self._pace() * job.seconds)

    def _pace(self) -> float:
        return statistics.median(self._paces) if self._paces else 1.0

    def _jobs_that_fit(self) -> Iterator[Job]:
        """Yield what is to be run; the budget is looked at when a group's or a job's turn comes."""
        for group in self._groups:
            rest = [job for job in dict.fromkeys(group) if self._is_open(job)]
            longest_first = sorted(map(self.expected, rest), reverse=True)
            needed = sum(longest_first[:: self._workers])  # the longest of each round
            if not self._has(needed):
                continue
            for job in rest:
                if failed := self._failed_in(group):
                    print(f"{job.title}: skipped, for {failed} failed", flush=True)
                elif self._has(self.expected(job)):
                    self._begun.add(job.folder)
                    yield job

    def _has(self, seconds: float) -> bool:
        return seconds <= self._deadline - time.monotonic()

    def _failed_in(self, group: Sequence[Job]) -> str:
        """Return the title of a failed job whose group is skipped, or ""."""
        failed = (job.title for job in group if job.title in self.failures)
        return next(failed, "") if self._needs_all else ""

    def _is_open(self, job: Job) -> bool:
        return job.folder not in self._begun and job.result() is None

    def _work(self, queue: Iterator[Job]) -> None:
        while not self._stop.is_set():
            with self._lock:
                job = next(queue, None)
                failure = job.changed() if job else ""
            if job is None:
                return
            start = time.monotonic()
            failure = failure or self._run(job)
            with self._lock:
                self._finish(job, failure or job.changed(), time.monotonic() - start)

    def _run(self, job: Job) -> str:
        """Run a job; return why it failed, or an empty text."""
        shutil.rmtree(job.folder, ignore_errors=True)
        job.folder.mkdir(parents=True)
        with job.log.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
            try:
                is_over = self._wait(process, job.log)
            finally:
                _end(process)
        if not is_over:
            return f"ended, for its log did not grow for {HANGS_AFTER / 60:.0f} min"
        return last_line(job.log) if process.returncode else ""

    def _wait(self, process: subprocess.Popen[bytes], log: Path) -> bool:
        """Wait for a process; False if it writes no more into its log, or when all is to stop."""
        size, grown = 0, time.monotonic()
        while not self._stop.is_set() and time.monotonic() < grown + HANGS_AFTER:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
                return True
            if log.stat().st_size > size:
                size, grown = log.stat().st_size, time.monotonic()
        return False

    def _finish(self, job: Job, failure: str, seconds: float) -> None:
        """Write the result down and say it."""
        try:
            result = {} if failure else {**job.read(job.folder), "seconds": round(seconds, 1)}
        except (OSError, ValueError, LookupError) as error:
            failure = f"its result cannot be read: {error}"
        if failure:
            if not self._stop.is_set():
                self.failures[job.title] = failure
                if job.kind:
                    self._failed_after[job.kind] = seconds
                print(f"{job.title}: failed: {failure} ({job.log})", flush=True)
            return
        write_json(result, job.folder / DONE, indent=1)
        self._paces.append(seconds / job.seconds)
        print(f"{self._count()} {job.title}: {scores_line(result)}; {self._eta()}", flush=True)
        self._report()

    def _count(self) -> str:
        jobs = _unique(self._groups)
        complete = sum(job.result() is not None for job in jobs)
        return f"[{complete}/{len(jobs)}]"

    def _eta(self) -> str:
        """Say how long it takes until all is done, or the budget is spent."""
        left = self.seconds_left()
        until_deadline = max(0.0, self._deadline - time.monotonic())
        end = time.strftime("%a %H:%M", time.localtime(time.time() + min(left, until_deadline)))
        short = " (the budget ends before)" if left > until_deadline else ""
        return f"{left / 3600:.1f} h left{short}, until {end}"


def _unique(groups: Iterable[Sequence[Job]]) -> list[Job]:
    return list({job.folder: job for group in groups for job in group}.values())


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, if it has not ended, with all that it started."""
    for name in ("SIGINT", "SIGKILL"):
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, getattr(signal, name))
        elif process.poll() is None:  # Windows
            process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty."""
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = (line.strip() for line in reversed(text.splitlines()))
    return next((line for line in lines if line), "its log is empty")
