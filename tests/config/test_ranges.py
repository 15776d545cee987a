"""Ranges accept what their words say, and nothing else."""

import math

import pytest

from dyhead.config.ranges import (
    Range,
    either,
    flag,
    identifier,
    list_of,
    name,
    number,
    one_of,
    text,
    whole,
)


@pytest.mark.parametrize(
    ("allowed", "words", "accepted", "refused"),
    [
        (flag(), "True or False", [True, False], [1, 0, "True", None]),
        (text(), "text", ["", "a"], [1, None, ["a"]]),
        (name(), "a name", ["a"], ["", " ", 1, None]),
        (identifier(), "a name of letters, digits and _", ["a_1.B"], ["", "1", "a b", "[]", None]),
        (one_of("a"), "'a'", ["a"], ["b", None]),
        (one_of("a", "b", 3), "'a', 'b' or 3", ["a", 3], ["c", 3.0]),
        (one_of(1), "1", [1], [True]),
        (whole(), "a whole number", [-5, 0, 10**30], [1.0, True, "1", None]),
        (whole(1), "a whole number of 1 or more", [1, 2], [0, -1]),
        (whole(most=9), "a whole number of at most 9", [9, -1], [10]),
        (whole(1, 3), "a whole number from 1 to 3", [1, 3], [0, 4]),
        (number(), "a finite number", [-1, 2.5], [math.nan, math.inf, True, 10**400]),
        (number(0, 1), "a finite number from 0 to 1", [0, 1.0], [-1e-9, 1.1]),
        (number(above=0), "a finite number above 0", [1e-30], [0.0, -1]),
        (
            number(0, below=1),
            "a finite number of 0 or more and below 1",
            [0, 0.9],
            [1, -0.1],
        ),
        (number(above=0, infinite=True), "a number above 0", [math.inf, 1], [-math.inf, math.nan]),
        (either(one_of(None), whole(1)), "None or a whole number of 1 or more", [None, 1], [0]),
    ],
)
def test_a_range_accepts_what_its_words_say(
    allowed: Range, words: str, accepted: list, refused: list
) -> None:
    assert allowed.words == words
    assert [value for value in accepted if not allowed.accepts(value)] == []
    assert [value for value in refused if allowed.accepts(value)] == []


def test_lists_check_every_element_their_number_and_their_order() -> None:
    counted = list_of(whole(0), 2)
    assert counted.words == "a list of two elements, each a whole number of 0 or more"
    assert counted.accepts((0, 1)) and counted.accepts([5, 5])
    for value in ([], [1], [1, 2, 3], [1, -1], "12", 1, None, {"1": 2}):
        assert not counted.accepts(value)
    ordered = list_of(number(), empty=True, ascending=True)
    assert ordered.accepts(()) and ordered.accepts([1, 2.5, 9])
    assert not ordered.accepts([1, 1]) and not ordered.accepts([2, 1])
    assert not list_of(name()).accepts([])
    assert (
        list_of(flag(), (4, 5)).words == "a list of four elements or 5 elements, each True or False"
    )
