"""Printing, checking and flattening results, on either host."""

import logging
from collections import OrderedDict

import pytest

from dyhead.d2.config import get_cfg
from dyhead.d2.evaluation import print_csv_format, verify_results
from dyhead.d2.evaluation.testing import flatten_results_dict

RESULTS = {"bbox": {"AP": 40.0, "AP50": 60.5, "AP-cat": 33.0}}


def test_results_flatten_to_paths():
    assert flatten_results_dict({**RESULTS, "speed": 3}) == {
        "bbox/AP": 40.0,
        "bbox/AP50": 60.5,
        "bbox/AP-cat": 33.0,
        "speed": 3,
    }
    assert flatten_results_dict({"a": {"b": {"c": 1}}}) == {"a/b/c": 1}
    assert flatten_results_dict({}) == {}


def test_lines_to_paste_leave_out_categories(monkeypatch):
    messages: list[str] = []
    logger = logging.getLogger("detectron2.evaluation.testing")
    monkeypatch.setattr(logger, "info", lambda text, *values: messages.append(text % values))
    print_csv_format(OrderedDict(RESULTS, other=5))
    assert messages == [
        "copypaste: Task: bbox",
        "copypaste: AP,AP50",
        "copypaste: 40.0000,60.5000",
        "copypaste: other=5",
    ]


@pytest.mark.parametrize(
    "expected, passes",
    [
        ([], True),
        ([["bbox", "AP", 40.4, 0.5]], True),
        ([["bbox", "AP", 40.0, 0.1], ["bbox", "AP50", 60.0, 0.1]], False),
        ([["bbox", "APx", 40.0, 0.1]], False),
    ],
)
def test_results_are_verified(expected, passes):
    cfg = get_cfg()
    cfg.TEST.EXPECTED_RESULTS = expected
    if passes:
        assert verify_results(cfg, RESULTS)
    else:
        with pytest.raises(SystemExit) as stopped:
            verify_results(cfg, RESULTS)
        assert stopped.value.code == 1


def test_a_score_that_is_not_a_number_does_not_pass():
    cfg = get_cfg()
    cfg.TEST.EXPECTED_RESULTS = [["bbox", "AP", 40.0, 0.5]]
    with pytest.raises(SystemExit):
        verify_results(cfg, {"bbox": {"AP": float("nan")}})
