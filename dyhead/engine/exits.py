"""Ends runs on errors that need no traceback: a user's mistake, numbers that are not finite."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch.multiprocessing as mp

from dyhead.engine.stops import EXIT_STATUSES, INTERRUPTED
from dyhead.errors import UserError
from dyhead.shortages import describe_shortage


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """End the program with one sentence and exit code 1 on errors that need no traceback here.

    These are `UserError`, and the FloatingPointError of a training that stopped itself, also when
    they come from a process that `launch` started, and the end of such a process by a signal. A
    process that was stopped in good order gives its exit code to the program, and so does Ctrl-C.
    """
    try:
        yield
    except (UserError, FloatingPointError) as error:
        sys.exit(f"Error: {_last_sentence(error) or error}")
    except mp.ProcessRaisedException as error:
        if message := _last_sentence(error):
            sys.exit(f"Error: {message}")
        raise
    except mp.ProcessExitedException as error:
        if error.exit_code in EXIT_STATUSES:
            sys.exit(error.exit_code)
        if error.exit_code == 1:  # it had a reason: the host ends so if EXPECTED_RESULTS are missed
            sys.exit(
                f"Error: Process {error.error_index} of the run (counted from 0) ended itself with"
                " exit code 1: its last lines in the log say why."
            )
        sys.exit(
            f"Error: Process {error.error_index} of the run (counted from 0) was ended by"
            f" {error.signal_name or f'exit code {error.exit_code}'}, often for lack of memory; the"
            " others have been stopped. What was saved stays; a training goes on from there with"
            " --resume."
        )
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _last_sentence(error: BaseException) -> str:
    """Return a user's sentence from below another process's traceback, "" where there is none."""
    for name in (f"{UserError.__module__}.{UserError.__name__}", "FloatingPointError"):
        _, found, message = str(error).rpartition(f"\n{name}: ")
        if found:
            return message.strip()
    return ""


def log_without_traceback(record: logging.LogRecord) -> bool:
    """Filter the logger of Detectron2's training loop, which logs the traceback of any error.

    Returns:
        True: every record is logged, those of a user's mistake or a shortage with one sentence.
    """
    error = record.exc_info[1] if record.exc_info else None
    sentence = describe_shortage(error) if error else ""
    if isinstance(error, (UserError, FloatingPointError)):
        sentence = _last_sentence(error) or str(error)
    if sentence:
        record.msg, record.args = "Training stopped: %s", (sentence,)
        record.exc_info = None
    return True
