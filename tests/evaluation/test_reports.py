"""The table of AP that an evaluation leaves."""

import json
import math
from pathlib import Path

from dyhead.config import load_config
from dyhead.d2.data import MetadataCatalog
from dyhead.evaluation.reports import format_ap_table, write_reports


def rows(table: str) -> dict[str, str]:
    """First to second cell of each line."""
    lines = [
        [cell.strip() for cell in line.split("|")] for line in table.splitlines() if "|" in line
    ]
    return {cells[1]: cells[2] for cells in lines}


def test_categories_are_listed_below_the_overall_scores() -> None:
    scores = {"AP": 12.5, "AP50": 20.0, "AP-cat": 5.0, "AP-dog": math.nan}
    table = format_ap_table(scores, ["cat", "dog"])
    assert table.splitlines()[0].replace(" ", "") == "|AP|AP50|"
    assert rows(table)["12.50"] == "20.00"
    assert (rows(table)["cat"], rows(table)["dog"]) == ("5.00", "-")


def test_a_single_category_has_the_overall_score() -> None:
    assert rows(format_ap_table({"AP": 7.0}, ["cat"]))["cat"] == "7.00"


def test_scores_of_some_of_the_images_say_so_below_the_table() -> None:
    table = format_ap_table({"AP": 7.0, "AP@500": 8.0, "images": 3, "of": 5}, ["cat"])
    assert rows(table)["7.00"] == "8.00"
    assert "Over 3 of 5 images" in table and "| images" not in table


def test_nothing_to_score_is_a_sentence_without_tables() -> None:
    table = format_ap_table({"images": 5, "of": 5}, ["cat", "dog"])
    assert table == "Nothing to score: 5 images without an object that counts.\n"


def test_scores_are_strict_json_on_disk(tmp_path: Path, own_catalogs: None) -> None:
    MetadataCatalog.get("pets").set(thing_classes=["cat"])
    cfg, _ = load_config("", [])
    cfg.OUTPUT_DIR, cfg.DATASETS.TEST = str(tmp_path), ("pets",)
    write_reports(cfg, {"bbox": {"AP": 5.0, "APs": math.nan, "images": 3, "of": 5}})
    text = (tmp_path / "inference" / "scores.json").read_text()
    assert "NaN" not in text
    assert json.loads(text) == {"AP": 5.0, "APs": None, "images": 3, "of": 5}
    assert "3 of 5 images" in (tmp_path / "inference" / "ap.md").read_text()


def test_without_predictions_every_category_is_listed() -> None:
    table = rows(format_ap_table({"AP": math.nan}, ["cat", "dog"]))
    assert (table["cat"], table["dog"]) == ("-", "-")
