"""Filters choose what they say, worked out by hand for the run of `viewed_run`."""

from pathlib import Path
from typing import Any

import pytest
from viewed_run import PREDICTIONS

from dyhead.viewer.kinds import Kind
from dyhead.viewer.load import find_sets, load_set
from dyhead.viewer.picture_set import PictureSet
from dyhead.viewer.selection import Query, State, describe_picture, select

ANT, BEE, FLY = range(3)


@pytest.fixture
def pictures(run_folder: Path) -> PictureSet:
    (files,) = find_sets(run_folder)
    return load_set(files)


def names(pictures: PictureSet, **filters: Any) -> list[str]:
    answer = select(pictures, Query(**filters))
    assert answer["total"] == len(answer["pictures"])
    return [each["name"][0] for each in answer["pictures"]]


def kinds(pictures: PictureSet, name: str, **filters: Any) -> list[int]:
    place = "abcd".index(name)
    return [row[6] for row in describe_picture(pictures, place, Query(**filters))["found"]]


def states(pictures: PictureSet, name: str, **filters: Any) -> list[int]:
    place = "abcd".index(name)
    return [row[5] for row in describe_picture(pictures, place, Query(**filters))["truth"]]


def test_boxes_are_those_of_the_files(pictures: PictureSet) -> None:
    first = describe_picture(pictures, 0, Query())
    assert (first["name"], first["width"], first["height"]) == ("a.png", 64, 48)
    assert [row[:5] for row in first["truth"]] == [[3, 4, 23, 20, BEE], [30, 10, 54, 40, ANT]]
    x, y, width, height = PREDICTIONS[0]["bbox"]
    assert first["found"][0][:6] == [x, y, x + width, y + height, BEE, 0.9]


def test_every_prediction_has_its_kind(pictures: PictureSet) -> None:
    assert kinds(pictures, "a") == [Kind.MATCHED, Kind.DUPLICATE, Kind.CLASSIFICATION]
    assert kinds(pictures, "b") == [Kind.LOCALISATION]
    assert kinds(pictures, "c") == [Kind.MATCHED]
    assert kinds(pictures, "d") == [Kind.BACKGROUND]


def test_objects_become_missed_as_the_threshold_rises(pictures: PictureSet) -> None:
    assert states(pictures, "a") == [State.FOUND, State.MISTAKEN]
    assert states(pictures, "a", low=0.7) == [State.FOUND, State.MISTAKEN]
    assert states(pictures, "a", low=0.75) == [State.FOUND, State.MISSED]
    assert states(pictures, "a", low=0.95) == [State.MISSED, State.MISSED]
    assert states(pictures, "b") == [State.MISTAKEN]
    assert states(pictures, "c", low=0.3) == [State.MISSED, State.MISSED]


def test_the_score_filters_predictions_and_not_pictures(pictures: PictureSet) -> None:
    assert names(pictures, low=0.99) == ["a", "b", "c", "d"]
    assert kinds(pictures, "a", low=0.75) == [Kind.MATCHED, Kind.DUPLICATE]
    assert kinds(pictures, "a", low=0.75, high=0.85) == [Kind.DUPLICATE]
    assert kinds(pictures, "a", low=0.9, high=0.9) == [Kind.MATCHED]


def test_kinds_and_classes_choose_pictures_that_have_such_a_box(pictures: PictureSet) -> None:
    def of(*chosen: int) -> frozenset[int]:
        return frozenset(chosen)

    assert names(pictures, kinds=of(Kind.MATCHED)) == ["a", "c"]
    assert names(pictures, kinds=of(Kind.MATCHED), low=0.3) == ["a"]
    assert names(pictures, kinds=of(Kind.MISSED)) == ["c", "d"]
    assert names(pictures, kinds=of(Kind.BACKGROUND, Kind.LOCALISATION)) == ["b", "d"]
    assert names(pictures, kinds=of(Kind.BOTH)) == []
    assert names(pictures, classes=of(BEE)) == ["a", "d"]
    assert names(pictures, classes=of(ANT)) == ["a", "c", "d"]
    assert names(pictures, classes=of(BEE), kinds=of(Kind.MISSED)) == ["d"]
    assert names(pictures, classes=of(ANT), kinds=of(Kind.CLASSIFICATION)) == []
    assert names(pictures, classes=of(FLY), kinds=of(Kind.CLASSIFICATION)) == ["a"]


def test_names_are_searched_in_any_case(pictures: PictureSet) -> None:
    assert names(pictures, text="B.P") == ["b"]
    assert names(pictures, text="no such") == []


def test_the_worst_come_first(pictures: PictureSet) -> None:
    assert names(pictures, order="most") == ["a", "d", "b", "c"]
    assert names(pictures, order="most", low=0.3) == ["a", "c", "d", "b"]


def test_counts_are_of_boxes_under_the_other_filters(pictures: PictureSet) -> None:
    counts = select(pictures, Query())["counts"]
    assert counts == {
        "kinds": [2, 1, 1, 0, 1, 1, 2, 0],
        "objects": [2, 2, 2],
        "predictions": [2, 2, 2],
    }
    counts = select(pictures, Query(low=0.3, classes=frozenset([ANT])))["counts"]
    assert counts["kinds"] == [0, 0, 0, 0, 0, 1, 1, 0]
    assert counts["predictions"] == [1, 2, 2]
    answer = select(pictures, Query(kinds=frozenset([Kind.MISSED])))
    missed = [0, 0, 0]
    for picture in answer["pictures"]:
        for *_, label, state in picture["truth"]:
            missed[label] += state == State.MISSED
    assert answer["counts"]["objects"] == missed and 0 < sum(missed) < 6
    assert answer["counts"]["predictions"] == [0, 0, 0]
    counts = select(pictures, Query(kinds=frozenset([Kind.BACKGROUND])))["counts"]
    assert counts["objects"] == [0, 0, 0] and sum(counts["predictions"]) == 1


def test_pages_are_parts_of_the_whole(pictures: PictureSet) -> None:
    whole = select(pictures, Query(order="most"))["pictures"]
    parts = [select(pictures, Query(order="most", start=i, limit=1)) for i in range(5)]
    assert [each for part in parts for each in part["pictures"]] == whole
    assert {part["total"] for part in parts} == {4}


def test_an_address_is_read_as_it_was_meant() -> None:
    query = Query.parse({"low": "0.25", "classes": "2,0", "kinds": "", "text": "x", "limit": "5"})
    assert query == Query(low=0.25, classes=frozenset([0, 2]), text="x", limit=5)


def test_kinds_of_errors_hide_nothing_where_there_are_no_predictions(source: Path) -> None:
    (files,) = find_sets(source)
    labels = load_set(files)
    whole = select(labels, Query())
    for kind in (Kind.MATCHED, Kind.MISSED):
        chosen = select(labels, Query(kinds=frozenset([kind])))
        assert (chosen["total"], chosen["counts"]) == (whole["total"], whole["counts"])
