#!/usr/bin/env python3
"""Try all faults of tests/faults and make a table of them: `python tools/fault_table.py --write`.

A column has a yes where every test of the fault has asserted it. With --write the table goes into
docs/reliability.md. All other arguments are pytest's, such as -n 2; with -k disk some of the faults
are tried, and the others keep their rows.
"""

import argparse
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN = "<!-- made by `make faults` from the tests of tests/faults -->"
END = "<!-- end of the table -->"
COLUMNS = ("clear", "survived", "nothing_lost")


@dataclass
class Row:
    """A fault: how often it was tried, for how many seconds, and what all its tests have shown."""

    name: str
    tried: int = 0
    seconds: float = 0.0
    clear: bool = True
    survived: bool = True
    nothing_lost: bool = True

    def add(self, record: dict[str, Any], seconds: float) -> None:
        """Take a test's record in."""
        self.tried += record["tried"]
        self.seconds += seconds
        for column in COLUMNS:
            setattr(self, column, getattr(self, column) and record[column])

    @property
    def is_shown(self) -> bool:
        """True if the fault was tried, and all columns have been shown by every test of it."""
        return self.tried > 0 and self.clear and self.survived and self.nothing_lost

    @staticmethod
    def parse(line: str) -> "Row":
        """Return the row that `str` has made a line of."""
        name, tried, *shown, seconds = (cell.strip() for cell in line.strip("| \n").split(" | "))
        return Row(name, int(tried), float(seconds), *(mark == "yes" for mark in shown))

    def __str__(self) -> str:
        """Return the row in Markdown."""
        marks = ["yes" if getattr(self, c) else "NO" for c in COLUMNS] if self.tried else ["-"] * 3
        return f"| {self.name} | {self.tried} | {' | '.join(marks)} | {self.seconds:.1f} |"


class Collector:
    """A plugin of pytest that collects what the tests have shown.

    Attributes:
        rows: by the name of the fault; also of tests that were skipped.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self._seconds: dict[str, float] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Make a row for every fault that will be tried."""
        for item in session.items:
            for marker in item.iter_markers("fault"):
                self.rows.setdefault(marker.args[0], Row(marker.args[0]))
                break

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a finished test in."""
        seconds = self._seconds.get(report.nodeid, 0.0) + report.duration
        self._seconds[report.nodeid] = seconds
        if report.when != "teardown":
            return
        for key, record in report.user_properties:
            if key == "fault" and isinstance(record, dict):
                name = record["name"]
                self.rows.setdefault(name, Row(name)).add(record, seconds)


def make_table(rows: list[Row]) -> str:
    """Return the table, with a sum and the machine above it."""
    tried = [row for row in rows if row.tried]
    sums = [f"{sum(getattr(row, column) for row in tried)} {column}" for column in COLUMNS]
    head = f"{len(tried)} faults, tried {sum(row.tried for row in tried)} times: {', '.join(sums)}"
    head = head.replace("nothing_lost", "lose nothing").replace(" clear", " end clear")
    where = f"{platform.system()}, Python {platform.python_version()}"
    return "\n".join(
        [
            f"{head} ({where}, {sum(row.seconds for row in tried) / 60:.0f} minutes in all).",
            "",
            "| fault | tried | clear | survived | nothing lost | seconds |",
            "| --- | ---: | --- | --- | --- | ---: |",
            *map(str, rows),
        ]
    )


def read_rows(text: str) -> dict[str, Row]:
    """Return the rows of a table by their names."""
    lines = [line for line in text.splitlines() if re.search(r"\| \d+ \| .* \| [\d.]+ \|$", line)]
    return {row.name: row for row in map(Row.parse, lines)}


def write_into(page: Path, table: str) -> None:
    """Replace what stands between the marks of a page."""
    text = page.read_text(encoding="utf-8")
    between = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    changed, number = between.subn(lambda _: f"{BEGIN}\n\n{table}\n\n{END}", text)
    if number != 1:
        sys.exit(f"{page} has no place for the table: {BEGIN} ... {END}")
    page.write_text(changed, encoding="utf-8")


def main() -> int:
    """Try the faults; 0 where all of them were shown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.name}")
    args, others = parser.parse_known_args()
    collector = Collector()
    options = ["-m", "", "-q", "-p", "no:cacheprovider", *others]
    status = pytest.main([str(ROOT / "tests" / "faults"), *options], plugins=[collector])
    earlier = read_rows(PAGE.read_text(encoding="utf-8")) if "-k" in others else {}
    rows = sorted((earlier | collector.rows).values(), key=lambda row: row.name.lower())
    table = make_table(rows)
    print(f"\n{table}")
    if args.write and int(status) in (0, 1):  # else interrupted, or not even collected
        write_into(PAGE, table)
    return int(status) or int(not all(row.is_shown for row in rows if row.tried))


if __name__ == "__main__":
    sys.exit(main())
