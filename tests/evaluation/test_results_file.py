"""Detections are read with the caller's ids, or refused by the file's name."""

import json

import pytest

from dyhead.errors import UserError
from dyhead.evaluation.results_file import read_results

GOOD = {"image_id": "a", "category_id": 7, "bbox": [1, 2, 3, 4.5], "score": 0.5}


def read(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    return read_results(path, {"a": 0, "b": 1}, {7: 0})


def test_ids_become_the_caller_s_and_zero_is_one_of_them(tmp_path):
    second = {**GOOD, "image_id": "b", "score": 1}
    assert read(tmp_path, [GOOD, second]) == [
        {"image_id": 0, "category_id": 0, "bbox": [1, 2, 3, 4.5], "score": 0.5},
        {"image_id": 1, "category_id": 0, "bbox": [1, 2, 3, 4.5], "score": 1},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "is no list of detections"),
        ([{"image_id": "a"}], "it is no detection"),
        ([[]], "it is no detection"),
        ([{**GOOD, "image_id": ["a"]}], "it is no detection"),
        ([{**GOOD, "image_id": "c"}], "has detections of image 'c', which the data set does not"),
        ([{**GOOD, "category_id": 8}], "has detections of category 8, which the data set does not"),
        ([{**GOOD, "score": float("nan")}], "its numbers are not finite"),
        ([{**GOOD, "bbox": [1, 2, 3]}], "its numbers are not finite"),
    ],
)
def test_other_contents_are_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=rf"results\.json .*{message}"):
        read(tmp_path, content)


@pytest.mark.parametrize("written", [0, "0", 0.0])
def test_a_picture_that_is_left_out_by_now_is_named_with_the_reason(tmp_path, written):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([GOOD, {**GOOD, "image_id": written}]))
    message = (
        r"results\.json has detections in .*, a\.png: gone\. Put the picture back as it was, or"
    )
    with pytest.raises(UserError, match=message):
        read_results(path, {"a": 0}, {7: 0}, {0: "a.png: gone"})
