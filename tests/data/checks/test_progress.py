"""Long checks say how far they are, short ones nothing."""

import logging

from dyhead.data.checks import progress


def test_a_line_comes_every_ten_seconds(monkeypatch, caplog):
    times = iter([0, 1, 11, 12, 22])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    log = progress.log_progress("cells")
    with caplog.at_level(logging.INFO, logger="dyhead"):
        for done in (10, 110, 120, 220):
            log(done, 330)
    assert caplog.messages == [
        "cells: 110 of 330 image files looked at; 22 s left",
        "cells: 220 of 330 image files looked at; 11 s left",
    ]
