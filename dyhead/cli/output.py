"""Prints what commands answer."""

import os
import sys


def print_whole(text: str) -> None:
    """Print a text that a reader such as `head` may close before its end."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # what is still in the buffer goes nowhere, so that nothing complains at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
