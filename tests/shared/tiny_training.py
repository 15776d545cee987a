"""A small training (`small_program`) with code of a test's own before it."""

import os
import subprocess
import sys

from small_program import PROJECT


def start_training(arguments: list[str], *code: str, **variables: str) -> subprocess.Popen[str]:
    """Start train_net.py in a process of its own.

    Args:
        arguments: of its command line.
        code: lines of Python that run before it in the same process.
        variables: of its environment; unless they say otherwise nothing is compiled.
    """
    program = "\n".join(
        [
            *code,
            "import runpy, sys",
            f"sys.argv = ['train_net.py', *{arguments!r}]",
            f"runpy.run_path({str(PROJECT / 'train_net.py')!r}, run_name='__main__')",
        ]
    )
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "DYHEAD_CPP": "0", **variables},
        cwd=PROJECT,
    )


def run_training(
    arguments: list[str], *code: str, timeout: float = 240, **variables: str
) -> tuple[int, str]:
    """Run train_net.py as `start_training` does; return its exit status and all that it said."""
    process = start_training(arguments, *code, **variables)
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, said


def sentence_of(said: str) -> str:
    """Return the last line of what a program said, which has to be its only error."""
    assert "Traceback" not in said, said
    return said.strip().splitlines()[-1]
