#!/usr/bin/env python3
"""Make the tables of results from the headers of configs/: `python tools/results_table.py`.

All configs stand in docs/model_zoo.md, ten of them in README.md. The form of a header is described
in dyhead/config/headers.py; several scores of a kind may stand there.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dyhead.config.find import is_base
from dyhead.config.headers import SCORES, first_sentence, read_header

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- made by `make results-table` from the headers of configs/ -->"
END = "<!-- end of the table -->"
TITLES = ("config", "what it is", "published box AP", "measured here")


@dataclass(frozen=True)
class Page:
    """A file with a table.

    Attributes:
        path: below the project's root.
        to_root: the beginning of its links to the project's files.
        configs: those in its table, in this order; None for all.
    """

    path: str
    to_root: str
    configs: tuple[str, ...] | None = None


PAGES = (
    Page("docs/model_zoo.md", "../"),
    Page(
        "README.md",
        "",
        (
            "dyhead_r50_atss_fpn_1x.yaml",
            "dyhead_r50_retina_fpn_1x.yaml",
            "dyhead_r50_rcnn_fpn_1x.yaml",
            "dyhead_r50_fcos_fpn_1x.yaml",
            "dyhead_r50_reppoints_fpn_1x.yaml",
            "dyhead_swint_atss_fpn_2x_ms.yaml",
            "dyhead_x101dcn_atss_fpn_2x_ms.yaml",
            "dyhead_swinl_atss_fpn_2x_ms.yaml",
            "own_dataset.yaml",
            "quickstart.yaml",
        ),
    ),
)


def find_scores(header: str, kind: str) -> list[str]:
    """Find the scores of a kind, each as "<number> on <data> (<source or remarks>)".

    Raises:
        ValueError: a line begins like one of that kind, but does not have its form.
    """
    pattern = rf"^{kind}: box AP (\d+\.\d) on ([^()]+) (\([^()]+\))\.$"
    found = re.findall(pattern, header, re.MULTILINE)
    if len(found) != len(re.findall(rf"^{kind}", header, re.MULTILINE)):
        raise ValueError(f'write "# {kind}: box AP <number> on <data> (<more about it>)."')
    return [" ".join(f"{number} on {data} {rest}".split()) for number, data, rest in found]


def make_row(path: Path, root: Path = ROOT, to_root: str = "") -> str:
    """Make the row of one config, in a file from which `to_root` leads to the project's root.

    Raises:
        ValueError: its header has another form; the message names the file.
    """
    header = read_header(path)
    try:
        scores = ["<br>".join(find_scores(header, kind)) for kind in SCORES]
        description = first_sentence(header)
    except ValueError as error:
        raise ValueError(f"{path.relative_to(root)}: {error}") from error
    name = path.relative_to(root / "configs").as_posix()
    link = f"[{name}]({to_root}configs/{name})"
    return format_row(link, description, *scores)


def format_row(*cells: str) -> str:
    """Format a row of a Markdown table."""
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return "".join(f"| {cell} " if cell else "| " for cell in escaped) + "|"


def make_table(page: Page, root: Path = ROOT) -> str:
    """Make the table of a page."""
    rows = (make_row(path, root, page.to_root) for path in _configs(page, root))
    return "\n".join((format_row(*TITLES), format_row(*("---",) * len(TITLES)), *rows))


def _configs(page: Page, root: Path) -> Iterator[Path]:
    """List the configs of a page; "all" means every one that is not only a base of others."""
    folder = root / "configs"
    if page.configs is not None:
        yield from (folder / name for name in page.configs)
        return
    for path in sorted(folder.rglob("*.yaml"), key=lambda path: (path.parent, path.name)):
        if not is_base(path.name):
            yield path


def replace_table(text: str, table: str, name: str) -> str:
    """Put the table between the two markers of a file's text.

    Raises:
        ValueError: there are no such markers.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{name} has to hold the lines {BEGIN} and {END}.")
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def update(page: Page, root: Path, is_check: bool) -> bool:
    """Rewrite a page's table, or with `is_check` leave it; return True if it was up to date.

    Raises:
        ValueError: a header, or the page, has another form.
        OSError: a config or the page is missing.
    """
    file = root / page.path
    text = file.read_text(encoding="utf-8")
    new = replace_table(text, make_table(page, root), page.path)
    if new != text and not is_check:
        file.write_text(new, encoding="utf-8")
    return new == text


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Rewrite the tables, or with --check only say whether one is stale."""
    parser = argparse.ArgumentParser(description="Make the tables of results.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing, fail when one is stale"
    )
    is_check = parser.parse_args(arguments).check
    try:
        stale = [page.path for page in PAGES if not update(page, root, is_check)]
    except (OSError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if is_check and stale:
        print(f"Stale: {', '.join(stale)}. Run `make results-table`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
