"""Errors about a user's input are sentences that name it."""

from dyhead.errors import first_few


def test_what_is_left_out_of_a_list_is_marked() -> None:
    assert first_few([]) == ""
    assert first_few(("a", "b"), 2) == "a, b"
    assert first_few({"a": 1, "b": 2, "c": 3}, 2) == "a, b, ..."
