"""A call of an experiment's command: alone with its files, from its plan to its tables."""

import argparse
import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from dyhead.engine import exit_on_user_error
from dyhead.errors import UserError
from dyhead.safe_io.lock import FileLock, LockedError


class Experiment(Protocol):
    """The plan, the runs and the results of a call."""

    def print_plan(self) -> None:
        """Print the runs, which are complete, and how long the rest takes."""

    def run(self) -> None:
        """Run what is not complete and fits."""

    def write_results(self) -> None:
        """Write the results of what is complete by now."""


def make_call(args: argparse.Namespace, prepare: Callable[[], Experiment]) -> None:
    """Run what is not complete and fits, and write the tables; print these, or only the plan.

    After Ctrl-C or SIGTERM the tables are written, too.

    Args:
        args: with `plan`, the folders `output` and `results`, and the `name` of the results.
        prepare: reads the results of earlier calls; no other call writes them any more by then.
    """
    with contextlib.ExitStack() as held:
        with exit_on_user_error():
            if not args.plan:
                held.enter_context(_lock(args.output, "call.lock"))
                held.enter_context(_lock(args.results, f".{args.name}.lock"))
            experiment = prepare()
        experiment.print_plan()
        if args.plan:
            return
        held.enter_context(_terminated_as_interrupted())
        try:
            experiment.run()
        except KeyboardInterrupt:
            raise SystemExit("Interrupted: call it again to go on.") from None
        finally:
            experiment.write_results()
        print((args.results / f"{args.name}.md").read_text(encoding="utf-8"))


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end what runs, too: the processes are in groups of their own."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _lock(folder: Path, name: str) -> Iterator[None]:
    """Hold a lock in a folder, which is made if missing.

    Raises:
        UserError: another call holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / name)
    except LockedError as error:
        raise UserError(
            f"Another call ({error.holder}) writes to {folder} under the same name: wait for its"
            " end, or give this one another --name and --output."
        ) from error
    with lock:
        yield
