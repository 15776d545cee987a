"""Output of commands: answers on the standard output, log lines on the terminal."""

import os
import sys


def print_whole(text: str) -> None:
    """Print a text that a reader such as `head` may close before its end.

    Letters that the terminal's encoding lacks are written as escapes.
    """
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        # what is still in the buffer goes nowhere, so that nothing complains at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def log_to_terminal() -> None:
    """Let the loggers of the host and of the project write to the terminal."""
    from dyhead.d2.utils.logger import setup_logger  # takes long to import

    for name in ("detectron2", "dyhead"):
        setup_logger(name=name)
