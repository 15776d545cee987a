"""Ids, numbers and flags are read from every form that programs write them in."""

import pytest

from dyhead.data.checks.values import id_order, read_flag, read_id, read_number


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (5, 5),
        (5.0, 5),
        ("5", 5),
        (" 5.0 ", 5),
        ("-3", -3),
        (2**80, 2**80),
        (str(2**80), 2**80),
        ("007", "007"),
        ("img-1", "img-1"),
        ("1.5", "1.5"),
        ("9" * 5000, "9" * 5000),
        (1.5, None),
        (float("nan"), None),
        (float("inf"), None),
        (True, None),
        (None, None),
        ([1], None),
    ],
)
def test_an_id_is_a_whole_number_or_text(written, read):
    found = read_id(written)
    assert found == read and type(found) is type(read)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (5, 5),
        (2.5, 2.5),
        ("2.5", 2.5),
        ("12", 12),
        ("1e2", 100),
        ("-.5", -0.5),
        ("1e999", None),
        ("1_000", None),
        ("2,5", None),
        ("nan", None),
        ("", None),
        (float("inf"), None),
        (10**400, None),
        (True, None),
        (None, None),
        ({}, None),
    ],
)
def test_a_number_is_finite_and_may_stand_in_quotes(written, read):
    assert read_number(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (0, 0),
        (1, 1),
        (True, 1),
        (False, 0),
        ("0", 0),
        ("1", 1),
        ("True", 1),
        ("false", 0),
        ("yes", 1),
        (" No ", 0),
        ("", 0),
        (1.0, 1),
        (None, 0),
        (2, None),
        ("maybe", None),
        ([1], None),
    ],
)
def test_a_flag_is_nought_or_one(written, read):
    assert read_flag(written) == read


def test_ids_are_in_the_order_of_numbers_and_then_of_texts():
    assert sorted([10, "b", 9, "a", -1], key=id_order) == [-1, 9, 10, "a", "b"]
