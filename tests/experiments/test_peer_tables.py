"""The tables of the peers say what their runs and times gave."""

import json

import peer_scripts
import pytest
from peer_results import read_report
from peer_tables import PeerModel, PeerRun, PlannedRun, Report, format_table, scores_cell
from peer_timing import Milliseconds


def test_several_seeds_are_counted_and_have_a_range() -> None:
    results = [{"AP": ap, "AP50": 2 * ap, "AP75": None} for ap in (30.0, 32.0, 40.0)]
    assert scores_cell(results) == "34.0 / 68.0 / 0.0 (AP 30.0 to 40.0, 3 seeds)"
    assert scores_cell(results[:1]) == "30.0 / 60.0 / 0.0"


@pytest.mark.parametrize(
    ("weights", "start"),
    [("a/yolo11n-cls.pt", "ImageNet"), ("a-cls/yolo11n.pt", "COCO"), ("random", "random")],
)
def test_a_row_says_what_its_weights_are_of(weights: str, start: str) -> None:
    model = PeerModel("ultralytics", "yolo11n", weights)
    run = PeerRun(PlannedRun(model, "cells", 5, 1), "", {"AP": 1.0, "AP50": 1.0, "AP75": 1.0})
    run.result["parameters"] = 1e6
    last = format_table([run], [5], {}).splitlines()[-1]
    assert last.split("|")[2].strip() == start


def test_only_times_of_one_session_are_divided_by_each_other() -> None:
    names = {"a": (10.0, "first"), "b": (30.0, "second"), "c": (60.0, "second")}
    scores = {"AP": 1.0, "AP50": 1.0, "AP75": 1.0, "parameters": 1e6}
    models = {name: PeerModel("peer", name, "random") for name in names}
    runs = [PeerRun(PlannedRun(each, "cells", 5, 1), "", scores) for each in models.values()]
    timings = {models[name]: Milliseconds(ms, ms, when) for name, (ms, when) in names.items()}
    rows = [line.split("|") for line in format_table(runs, [5], timings).splitlines()[2:]]
    assert [(row[5].strip(), row[6].strip()) for row in rows] == [
        ("10.0", ""),
        ("30.0", "1.00"),
        ("60.0", "2.00"),
    ]


def test_a_row_tells_its_input_and_the_page_its_lowest_scores_where_they_are_known() -> None:
    """Results before their runs told them are read as well."""
    scores = {"AP": 1.0, "AP50": 1.0, "AP75": 1.0, "parameters": 1e6}
    told = {**scores, "input (height, width)": [256, 341], "lowest score": 0.001}
    runs = [
        PeerRun(PlannedRun(PeerModel(peer, "small", "random"), "cells", 5, 1), "", result)
        for peer, result in (("own", told), ("torchvision", scores))
    ]
    page = Report("peers", "cpu", 1, {"cells": (384, 512)}, {}, {}, runs, [], {}, {}).as_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("|")]
    assert [row[3].strip() for row in rows[2:]] == ["256 x 341", "unknown"]
    assert "detections that count: own 0.001, torchvision unknown." in page


def test_the_published_results_give_the_published_tables() -> None:
    """Their times were written before these told their session, so they are all of one."""
    path = peer_scripts.FOLDER / "results" / "peers.json"
    known = json.loads(path.read_text())
    text = read_report(path, known["device"], known["threads"]).as_text()
    given, published = (
        [line for line in page.splitlines() if line.startswith("|")]
        for page in (text, path.with_suffix(".md").read_text())
    )
    assert given == published and any("| 1.00 " in line for line in given)
