"""Runs Triton's tests in its interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS_OF_GPUS = Path(__file__).parents[1] / "gpu"


@pytest.fixture
def interpret():
    """A function that runs a file of tests/gpu in Triton's interpreter, in a process of its own.

    TRITON_INTERPRET must be set before anything imports Triton.
    """

    def run(file, *options, package=None):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
        environment = {**os.environ, "TRITON_INTERPRET": "1"}
        if package is not None:  # the folder of another dyhead than the installed one
            environment["PYTHONPATH"] = str(package)
        return subprocess.run(
            [*command, str(TESTS_OF_GPUS / file)],
            env=environment,
            cwd=package,
            capture_output=True,
            text=True,
        )

    return run
