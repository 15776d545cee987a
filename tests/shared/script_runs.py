"""Programs of a test's own, run as files, whose processes import what the test does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_script(
    code: str, folder: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Write a program into a folder and run it; processes that it spawns import it from there.

    Args:
        code: of the program.
        folder: for it.
        arguments: of its command line.
        variables: of its environment, besides this process's.
    """
    script = folder / "program.py"
    script.write_text(code)
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=300,
    )


def report_of_script(code: str, folder: Path, **variables: str) -> Any:
    """Run a program, which has to succeed, and read the JSON file that its one argument names."""
    report = folder / "report.json"
    done = run_script(code, folder, str(report), **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(report.read_text())


def environment(**variables: str) -> dict[str, str]:
    """The variables of this process and others; they let a new one import what this one can."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables}
