"""Labels of the page lie where those of drawn pictures do: within it, and on nothing small."""

import pytest

from dyhead.viewer.labels import lay_out
from dyhead.viewer.selection import State

NAMES = ["ant", "bee"]


def described(truth: list, found: list, size: tuple[int, int] = (400, 300)) -> dict:
    return {"width": size[0], "height": size[1], "truth": truth, "found": found}


def test_predictions_and_what_they_miss_have_labels() -> None:
    truth = [
        [10, 200, 60, 250, 0, State.MISSED],
        [300, 40, 390, 120, 1, State.FOUND],
        [200, 200, 290, 290, 1, State.CROWD],
    ]
    labels = lay_out(described(truth, [[300, 40, 390, 120, 1, 0.5, 0]]), NAMES, 800)
    assert [(each["text"], each["class"]) for each in labels] == [("bee 50%", 1), ("ant", 0)]


@pytest.mark.parametrize("margin", [-4, 0, 4])
def test_a_small_object_that_is_found_has_its_label_beside_both_boxes(margin: int) -> None:
    truth = [100 - margin, 100 - margin, 130 + margin, 130 + margin, 1, State.FOUND]
    (label,) = lay_out(described([truth], [[100, 100, 130, 130, 1, 0.5, 0]]), NAMES, 400)
    assert label["text"] == "bee 50%"
    for left, top, right, bottom in ([100, 100, 130, 130], truth[:4]):
        is_beside = label["left"] >= right or label["left"] + label["width"] <= left
        assert is_beside or label["top"] >= bottom or label["top"] + label["height"] <= top


@pytest.mark.parametrize("width", [60, 400, 1900])
def test_labels_lie_within_the_picture_at_any_size(width: int) -> None:
    found = [[0, 0, 9, 9, 0, 0.9, 0], [391, 291, 400, 300, 1, 0.8, 0], [0, 0, 400, 300, 1, 0.7, 5]]
    labels = lay_out(described([], found), NAMES, width)
    assert labels or width == 60
    for each in labels:
        assert each["left"] >= 0 and each["left"] + each["width"] <= width
        assert each["top"] >= 0 and each["top"] + each["height"] <= round(width * 0.75)


def test_a_label_leaves_small_objects_alone_that_have_none() -> None:
    small = [100, 82, 112, 96, 1, State.FOUND]  # where the label would usually lie
    for truth in ([], [small]):
        (label,) = lay_out(described(truth, [[100, 100, 300, 250, 0, 0.9, 0]]), NAMES, 400)
        covers = label["top"] < 96 and label["top"] + label["height"] > 82 and label["left"] < 112
        assert covers == (not truth)
