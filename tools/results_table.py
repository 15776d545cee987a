#!/usr/bin/env python3
"""Make README.md's table of results from the headers of configs/: `python tools/results_table.py`.

The form of a header is described in dyhead/config/headers.py; several scores of a kind
may stand there.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from dyhead.config.headers import SCORES, first_sentence, read_header

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- made by `make results-table` from the headers of configs/ -->"
END = "<!-- end of the table -->"
TITLES = ("config", "what it is", "published box AP", "measured here")


def find_scores(header: str, kind: str) -> list[str]:
    """The scores of a kind, each as "<number> on <data> (<source or remarks>)".

    Raises:
        ValueError: a line begins like one of that kind, but does not have its form.
    """
    pattern = rf"^{kind}: box AP (\d+\.\d) on ([^()]+) (\([^()]+\))\.$"
    found = re.findall(pattern, header, re.MULTILINE)
    if len(found) != len(re.findall(rf"^{kind}", header, re.MULTILINE)):
        raise ValueError(f'write "# {kind}: box AP <number> on <data> (<more about it>)."')
    return [" ".join(f"{number} on {data} {rest}".split()) for number, data, rest in found]


def make_row(path: Path, root: Path = ROOT) -> str:
    """The row of one config.

    Raises:
        ValueError: its header has another form; the message names the file.
    """
    header = read_header(path)
    try:
        scores = ["<br>".join(find_scores(header, kind)) for kind in SCORES]
        description = first_sentence(header)
    except ValueError as error:
        raise ValueError(f"{path.relative_to(root)}: {error}") from error
    link = f"[{path.relative_to(root / 'configs')}]({path.relative_to(root).as_posix()})"
    return format_row(link, description, *scores)


def format_row(*cells: str) -> str:
    """A row of a Markdown table."""
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return "".join(f"| {cell} " if cell else "| " for cell in escaped) + "|"


def make_table(root: Path = ROOT) -> str:
    """The whole table: every config but those that others only build on, by folder and name."""
    return "\n".join((format_row(*TITLES), format_row(*("---",) * len(TITLES)), *_rows(root)))


def _rows(root: Path) -> Iterator[str]:
    paths = (root / "configs").rglob("*.yaml")
    for path in sorted(paths, key=lambda path: (path.parent, path.name)):
        if not path.name.startswith("Base-"):
            yield make_row(path, root)


def replace_table(text: str, table: str) -> str:
    """The text with the table between its two markers.

    Raises:
        ValueError: there are no such markers.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md has to hold the lines {BEGIN} and {END}.")
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Rewrite the table in README.md, or with --check only say whether it is stale."""
    parser = argparse.ArgumentParser(description="Make README.md's table of results.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing, fail when it is stale"
    )
    is_check = parser.parse_args(arguments).check
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    try:
        new = replace_table(text, make_table(root))
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if is_check and new != text:
        print("README.md's table is stale: run `make results-table`.", file=sys.stderr)
        return 1
    if new != text:
        readme.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
