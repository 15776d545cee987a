"""The tables say what the runs gave, seed by seed."""

from pathlib import Path
from typing import Any

import pytest
from comparisons import Row, Table, Variant
from study_plan import Entry, Run
from study_tables import as_values, by_table, format_study, make_lines

PLAIN, FULL = Variant("plain", "atss", ("X", "0")), Variant("full", "atss")
TABLE = Table(
    "t", "A caption", ("detector",), (Row(("plain",), PLAIN), Row(("full",), FULL, PLAIN))
)


def make_run(variant: Variant, seed: int, data: str = "cells") -> Run:
    return Run(variant.title, data, Path("atss.yaml"), variant.options, seed, variant.title, "1")


def make_entries(seeds: int, data: str = "cells") -> list[Entry]:
    entries = []
    for seed in range(1, seeds + 1):
        runs = [make_run(row.variant, seed, data) for row in TABLE.rows]
        entries += [Entry(TABLE, TABLE.rows[0], runs[0], None)]
        entries += [Entry(TABLE, TABLE.rows[1], runs[1], runs[0])]
    return entries


def result(ap: float, **scores: Any) -> dict[str, Any]:
    return {"AP": ap, "AP50": 2 * ap, "AP75": ap, "APs": None, "steps": 100, **scores}


def results(plain: list[float], full: list[float]) -> dict[str, dict[str, Any]]:
    named = [(PLAIN, plain), (FULL, full)]
    return {
        make_run(variant, seed).name: result(ap)
        for variant, values in named
        for seed, ap in enumerate(values, start=1)
    }


def test_means_and_ranges_are_over_the_seeds() -> None:
    plain, full = make_lines(make_entries(3), results([40, 41, 45], [44, 42, 46]))
    assert (plain.scores["AP"].mean, plain.scores["AP"].low, plain.scores["AP"].high) == (
        42,
        40,
        45,
    )
    assert full.scores["AP50"].mean == 88
    assert "APs" not in full.scores
    assert plain.test is None and full.test is not None
    assert full.test.difference.mean == 2 and full.test.ahead == 3


def test_only_seeds_that_both_have_are_compared() -> None:
    _, full = make_lines(make_entries(3), results([40, 41], [44, 42, 90]))
    assert full.scores["AP"].n == 3
    assert full.test is not None
    assert (full.test.difference.n, full.test.difference.mean) == (2, 2.5)


def test_a_row_without_runs_is_left_out() -> None:
    (line,) = make_lines(make_entries(2), results([40], []))
    assert line.title == "plain"


def test_every_data_set_has_a_table() -> None:
    plan = [*make_entries(1), *make_entries(1, "boards"), *make_entries(2)[2:]]
    found = [(table.name, data, len(entries)) for table, data, entries in by_table(plan)]
    assert found == [("t", "cells", 4), ("t", "boards", 2)]


def test_the_page_has_means_ranges_and_the_test() -> None:
    text = format_study(make_entries(3), results([40, 41, 45], [43, 43, 46]))
    plain, full = text.splitlines()[-2:]
    assert cells(plain) == [
        "plain",
        "42.0 (40.0 to 45.0)",
        "84.0",
        "42.0",
        "",
        "",
        "",
        "",
        "100",
        "3",
    ]
    assert cells(full)[5:8] == ["+2.0 (+1.0 to +3.0)", "0.074", "3 of 3"]
    assert "## A caption: cells" in text


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_baseline_counts_once_by_its_mean_over_the_seeds() -> None:
    """Its seeds share data and detectors: one coin, not three."""
    other = Variant("other", "fcos")
    rows = (*TABLE.rows, Row(("other",), other), Row(("more",), Variant("more", "fcos"), other))
    table = Table("t", "", ("detector",), rows)
    plan, found = [], {}
    for seed, scores in ((1, (40, 41, 30, 28)), (2, (40, 41, 30, 28)), (3, (40, 44, 30, 31))):
        runs = {row.variant: make_run(row.variant, seed) for row in rows}
        for row, ap in zip(rows, scores, strict=True):
            baseline = runs[row.baseline] if row.baseline else None
            plan.append(Entry(table, row, runs[row.variant], baseline))
            found[runs[row.variant].name] = result(ap)
    text = format_study(plan, found)
    assert "The first row with each baseline is ahead of 1 of 2, by +0.5 AP" in text
    assert "sign test: p = 1.000" in text


def test_equal_detectors_are_no_evidence_in_the_sign_test() -> None:
    other = Variant("other", "fcos")
    table = Table(
        "t",
        "",
        ("detector",),
        (*TABLE.rows, Row(("other",), other), Row(("more",), Variant("more", "fcos"), other)),
    )
    runs = {row.variant: make_run(row.variant, 1) for row in table.rows}
    plan = [
        Entry(table, row, runs[row.variant], runs[row.baseline] if row.baseline else None)
        for row in table.rows
    ]
    found = {run.name: result(ap) for run, ap in zip(runs.values(), (0, 0, 30, 31), strict=True)}
    text = format_study(plan, found)
    assert "ahead of 1.5 of 2" in text
    assert "sign test: p = 1.000" in text, "one coin that says something"


def test_of_rows_that_share_a_baseline_the_first_counts_in_the_sum() -> None:
    other = Variant("other", "fcos")
    rows = (
        *(*TABLE.rows, Row(("full again",), Variant("again", "atss"), PLAIN)),
        *(Row(("other",), other), Row(("more",), Variant("more", "fcos"), other)),
    )
    table = Table("t", "", ("detector",), rows)
    runs = {row.variant: make_run(row.variant, 1) for row in rows}
    plan = [
        Entry(table, row, runs[row.variant], runs[row.baseline] if row.baseline else None)
        for row in rows
    ]
    values = (40, 42, 99, 30, 29)
    found = {run.name: result(ap) for run, ap in zip(runs.values(), values, strict=True)}
    assert "ahead of 1 of 2, by +0.5 AP" in format_study(plan, found)


def test_errors_have_a_table_of_the_rows_that_tell_them() -> None:
    found = results([40, 41], [44, 42])
    assert "AP50 that errors" not in format_study(make_entries(2), found)
    shown = []
    for variant, seed, missed in ((FULL, 1, 3.0), (FULL, 2, 5.0), (PLAIN, 2, 7.0)):
        found[make_run(variant, seed).name]["errors"] = {"missed": missed, "duplicate": None}
        text = format_study(make_entries(2), found).partition("The AP50 that errors")[2]
        headings, _, *rows = [line for line in text.splitlines() if line.startswith("|")]
        assert cells(headings) == ["detector", "missed", "seeds"]
        shown.append([cells(row) for row in rows])
    assert shown == [
        [["full", "3.0", "1"]],
        [["full", "4.0", "1, 2"]],
        [["plain", "7.0", "2"], ["full", "4.0", "1, 2"]],
    ]
    (table,) = as_values(make_entries(2), found)
    assert [row["seeds of errors"] for row in table["rows"]] == [(2,), (1, 2)]


def test_the_values_are_those_of_the_page() -> None:
    (table,) = as_values(make_entries(2), results([40, 41], [43, 45]))
    assert (table["table"], table["data"]) == ("t", "cells")
    plain, full = table["rows"]
    assert plain["against its baseline"] is None
    assert full["against its baseline"]["difference"]["mean"] == pytest.approx(3.5)
