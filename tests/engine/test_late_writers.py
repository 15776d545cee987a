"""Writers of events are built with the first write, and closed once."""

from dyhead.d2.utils.events import EventWriter
from dyhead.engine.late_writers import LateWriters


class Recorder(EventWriter):
    def __init__(self, calls: list[str]) -> None:
        self.calls = calls
        calls.append("built")

    def write(self) -> None:
        self.calls.append("write")

    def close(self) -> None:
        self.calls.append("close")


def test_nothing_is_built_before_the_first_write() -> None:
    calls: list[str] = []
    late = LateWriters(lambda: [Recorder(calls)])
    assert calls == []
    late.close()
    assert calls == []
    late.write()
    late.write()
    late.close()
    assert calls == ["built", "write", "write", "close"]
