"""Progress is a bar on a terminal, and a line now and then elsewhere."""

import io

import pytest

from dyhead import progress
from dyhead.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_tell_the_rate_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    stream = io.StringIO()
    shown = Progress(100, stream=stream)
    for _ in range(50):
        now += 0.5
        shown.advance()
    shown.close()
    assert stream.getvalue().splitlines() == [
        "20 of 100 pictures, 2 per second, 0:00:40 left",
        "40 of 100 pictures, 2 per second, 0:00:30 left",
    ]


def test_without_a_total_no_end_is_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    stream = io.StringIO()
    shown = Progress(None, "clip.mp4", stream)
    now = 20.0
    shown.advance()
    assert stream.getvalue() == "clip.mp4: 1 pictures, 0.05 per second\n"


def test_a_terminal_gets_a_bar_below_the_lines() -> None:
    stream = Terminal()
    shown = Progress(None, "clip.mp4", stream)
    shown.total = 2
    shown.advance()
    shown.say("a.png can't be read.")
    shown.advance()
    shown.close()
    assert "a.png can't be read.\n" in stream.getvalue()
    assert "2/2" in stream.getvalue() and "clip.mp4" in stream.getvalue()
