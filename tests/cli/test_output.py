"""Answers reach the terminal, whatever it can show."""

import io
import sys

import pytest

from dyhead.cli.output import print_whole


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8", "blå \\ud800"), ("latin-1", "blå \\ud800"), ("ascii", "bl\\xe5 \\ud800")],
)
def test_letters_that_a_terminal_lacks_are_escaped(monkeypatch, encoding, shown):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    print_whole("blå \ud800")
    assert written.getvalue().decode(encoding) == f"{shown}\n"
