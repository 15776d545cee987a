"""Formats the results of the study: a Markdown table per comparison and data set."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any, NamedTuple

from comparisons import Table, Variant
from run_results import Result, number
from seed_statistics import PairedTest, Spread, sign_p_value
from study_plan import Entry
from tabulate import tabulate

SCORES = ("AP", "AP50", "AP75", "APs")
ERRORS = "errors"  # of a result: the AP50 that each kind costs


class Line(NamedTuple):
    """A row of a table with what its seeds gave.

    Attributes:
        labels: its first cells.
        title: of the detector.
        scores: by name, over the seeds that are complete and where the score is defined.
        steps: of the trainings.
        errors: the AP50 that each kind of error costs, over the seeds whose results tell it.
        error_seeds: these seeds.
        test: its AP against the baseline's, over the seeds that both have; None without any.
    """

    labels: tuple[str, ...]
    title: str
    scores: dict[str, Spread]
    steps: Spread
    errors: dict[str, Spread]
    error_seeds: tuple[int, ...]
    test: PairedTest | None


Results = dict[str, Result]  # by the name of the run


def make_lines(entries: Sequence[Entry], results: Results) -> list[Line]:
    """Summarise the entries of one table and data set, all seeds, in the order of the rows."""
    lines = []
    for row in dict.fromkeys(entry.row for entry in entries):
        of_row = [entry for entry in entries if entry.row == row]
        runs = [entry.run for entry in of_row if entry.run.name in results]
        if runs:
            found = [results[run.name] for run in runs]
            scores = {key: Spread.of(values) for key in SCORES if (values := _values(found, key))}
            steps = Spread.of([result["steps"] for result in found])
            test = _paired_test(of_row, results)
            told = tuple(run.seed for run in runs if results[run.name].get(ERRORS))
            of_errors = (_errors(found), told)
            lines.append(Line(row.labels, row.variant.title, scores, steps, *of_errors, test))
    return lines


def _values(results: Sequence[Result], key: str) -> list[float]:
    return [result[key] for result in results if result.get(key) is not None]


def _errors(results: Sequence[Result]) -> dict[str, Spread]:
    known = [result[ERRORS] for result in results if result.get(ERRORS)]
    kinds = dict.fromkeys(kind for each in known for kind in each)
    values = {kind: _values(known, kind) for kind in kinds}
    return {kind: Spread.of(found) for kind, found in values.items() if found}


def _paired_test(entries: Sequence[Entry], results: Results) -> PairedTest | None:
    pairs = []
    for entry in entries:
        if entry.baseline and all(run.name in results for run in entry.runs):
            own, baseline = (results[run.name].get("AP") for run in (entry.run, entry.baseline))
            if own is not None and baseline is not None:
                pairs.append((own, baseline))
    return PairedTest.of(pairs) if pairs else None


def by_table(plan: Sequence[Entry]) -> Iterator[tuple[Table, str, list[Entry]]]:
    """Yield every table and data set with its entries."""

    def key(entry: Entry) -> tuple[str, str]:
        return entry.table.name, entry.run.data

    order = list(dict.fromkeys(map(key, plan)))
    for _, group in groupby(sorted(plan, key=lambda entry: order.index(key(entry))), key):
        entries = list(group)
        yield entries[0].table, entries[0].run.data, entries


def format_lines(table: Table, lines: Sequence[Line]) -> str:
    """Format lines as a Markdown table."""
    headings = [*table.headings, *SCORES, "against its baseline", "p", "ahead", "steps", "seeds"]
    cells = [
        [*line.labels]
        + [format_spread(line.scores.get(key), key == "AP") for key in SCORES]
        + [*_test_cells(line.test), f"{line.steps.mean:.0f}", str(line.steps.n)]
        for line in lines
    ]
    return tabulate(cells, headings, tablefmt="pipe", disable_numparse=True)


def format_errors(table: Table, lines: Sequence[Line]) -> str:
    """Format the AP50 that errors cost as a Markdown table; empty where no result tells it."""
    known = [line for line in lines if line.errors]
    if not known:
        return ""
    kinds = list(dict.fromkeys(kind for line in known for kind in line.errors))
    cells = [
        [*line.labels, *(format_spread(line.errors.get(kind), False) for kind in kinds)]
        + [", ".join(map(str, line.error_seeds))]
        for line in known
    ]
    headings = [*table.headings, *kinds, "seeds"]
    text = tabulate(cells, headings, tablefmt="pipe", disable_numparse=True)
    return f"The AP50 that errors of each kind cost, with the seeds that tell it:\n\n{text}"


def format_spread(spread: Spread | None, with_range: bool) -> str:
    """Format a mean, and the range of several values."""
    if spread is None:
        return ""
    ends = f" ({spread.low:.1f} to {spread.high:.1f})" if with_range and spread.n > 1 else ""
    return f"{spread.mean:.1f}{ends}"


def _test_cells(test: PairedTest | None) -> list[str]:
    if test is None:
        return ["", "", ""]
    difference, n = test.difference, test.difference.n
    ends = f" ({difference.low:+.1f} to {difference.high:+.1f})" if n > 1 else ""
    p_value = number(test.p_value, ".3f")
    return [f"{difference.mean:+.1f}{ends}", p_value, f"{test.ahead:g} of {n}"]


def summarise(table: Table, lines: Sequence[Line]) -> str:
    """Say in one sentence over how many baselines what is compared with them is ahead.

    Of rows that share a baseline the first one counts, and a baseline once, by the mean over its
    seeds: such pairs are not independent. The sign test leaves out those that are equal.

    Returns:
        an empty text where all rows have one baseline.
    """
    baselines: set[Variant] = set()
    firsts = set()
    for row in table.rows:
        if row.baseline and row.baseline not in baselines:
            baselines.add(row.baseline)
            firsts.add(row.labels)
    tests = [line.test for line in lines if line.test and line.labels in firsts]
    if not tests or len(baselines) == 1:
        return ""
    over_all = PairedTest.of([(test.difference.mean, 0.0) for test in tests])
    n, mean = over_all.difference.n, over_all.difference.mean
    untied = [test.difference.mean for test in tests if test.difference.mean]
    p_value = sign_p_value(sum(difference > 0 for difference in untied), len(untied))
    return (
        f"The first row with each baseline is ahead of {over_all.ahead:g} of {n}, by {mean:+.1f} AP"
        f" on average (means over the seeds; sign test: p = {p_value:.3f})."
    )


def format_study(plan: Sequence[Entry], results: Results) -> str:
    """Format all tables that have a result."""
    parts = []
    for table, data, entries in by_table(plan):
        if lines := make_lines(entries, results):
            parts += [
                f"## {table.caption}: {data}",
                format_lines(table, lines),
                summarise(table, lines),
                format_errors(table, lines),
            ]
    return "\n\n".join(filter(None, parts))


def as_values(plan: Sequence[Entry], results: Results) -> list[dict[str, Any]]:
    """Return the same as plain values."""
    return [
        {
            "table": table.name,
            "data": data,
            "rows": [_line_values(line) for line in lines],
        }
        for table, data, entries in by_table(plan)
        if (lines := make_lines(entries, results))
    ]


def _line_values(line: Line) -> dict[str, Any]:
    return {
        "labels": line.labels,
        "detector": line.title,
        "scores": {key: asdict(spread) for key, spread in line.scores.items()},
        "steps": asdict(line.steps),
        ERRORS: {kind: asdict(spread) for kind, spread in line.errors.items()},
        "seeds of errors": line.error_seeds,
        "against its baseline": asdict(line.test) if line.test else None,
    }
