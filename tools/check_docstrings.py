"""Refuse docstrings that ask instead of tell: `python tools/check_docstrings.py [PATH ...]`.

The first line of a docstring is a sentence that says what the thing is or does. It begins with a
capital letter, or with a name in backticks, and ends with a full stop.
"""

import argparse
import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).parents[1]
FOLDERS = ("dyhead", "tests", "tools", "benchmarks", "experiments", "setup.py", "train_net.py")
QUESTION = re.compile(r"(what|how|where|which|whether|why|when|who|whose)\b", re.IGNORECASE)
SENTENCE = re.compile(r"[^a-z\s].*\.", re.DOTALL)
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def find_files(path: Path) -> list[Path]:
    """List the Python files below a folder, or the file itself."""
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


class Docstring(NamedTuple):
    """A docstring's text, and its first and last line in the file."""

    text: str
    line: int
    end: int


def find_docstrings(path: Path) -> Iterator[Docstring]:
    """Yield every docstring of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Documented) and (text := ast.get_docstring(node)) is not None:
            yield Docstring(text, node.body[0].lineno, node.body[0].end_lineno or 0)


def find_fault(text: str) -> str | None:
    """Say in a few words how a docstring breaks the rule, if it does."""
    summary = text.split("\n\n")[0]
    if QUESTION.match(summary):
        return f"begins with {summary.split()[0]}: say what the thing is or does"
    return None if SENTENCE.fullmatch(summary) else "does not begin with a sentence"


def main(paths: list[Path]) -> str | None:
    """Print every fault in files and folders, one a line; return a sentence if there are any."""
    faults = 0
    for path in (file for folder in paths for file in find_files(folder)):
        for docstring in find_docstrings(path):
            if fault := find_fault(docstring.text):
                print(f"{os.path.relpath(path)}:{docstring.line}: docstring {fault}")
                faults += 1
    return f"{faults} docstrings to mend." if faults else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path, default=[PROJECT / name for name in FOLDERS])
    raise SystemExit(main(parser.parse_args().paths))
