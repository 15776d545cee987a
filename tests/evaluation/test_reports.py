"""The table of AP that an evaluation leaves."""

import math

from dyhead.evaluation.reports import format_ap_table


def rows(table: str) -> dict[str, str]:
    """First to second cell of each line."""
    lines = [[cell.strip() for cell in line.split("|")] for line in table.splitlines() if line]
    return {cells[1]: cells[2] for cells in lines}


def test_categories_are_listed_below_the_overall_scores() -> None:
    scores = {"AP": 12.5, "AP50": 20.0, "AP-cat": 5.0, "AP-dog": math.nan}
    table = format_ap_table(scores, ["cat", "dog"])
    assert table.splitlines()[0].replace(" ", "") == "|AP|AP50|"
    assert rows(table)["12.50"] == "20.00"
    assert (rows(table)["cat"], rows(table)["dog"]) == ("5.00", "-")


def test_a_single_category_has_the_overall_score() -> None:
    assert rows(format_ap_table({"AP": 7.0}, ["cat"]))["cat"] == "7.00"


def test_without_predictions_every_category_is_listed() -> None:
    table = rows(format_ap_table({"AP": math.nan}, ["cat", "dog"]))
    assert (table["cat"], table["dog"]) == ("-", "-")
