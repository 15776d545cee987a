"""Peers are timed in turns, without and with the loading of pictures."""

import sys
from pathlib import Path

from peer_timing import time_in_turns

SCRIPT = """
import sys, pathlib
print("a line of a library")
print('@peer "ready"', flush=True)
for line in sys.stdin:
    with open(LOG, "a") as log:
        print(NAME, int(line), file=log)
    if NAME == "dies":
        raise SystemExit(1)
    print("@peer " + str([[SECONDS, SECONDS + 0.001]] * int(line)), flush=True)
"""


def command(name: str, seconds: float, log: Path) -> list[str]:
    values = {"NAME": repr(name), "SECONDS": str(seconds), "LOG": repr(str(log))}
    script = SCRIPT
    for key, value in values.items():
        script = script.replace(key, value)
    return [sys.executable, "-S", "-c", script]


def test_they_take_turns_and_give_medians(tmp_path: Path) -> None:
    log = tmp_path / "log"
    commands = {name: command(name, s, log) for name, s in (("a", 0.010), ("b", 0.030))}
    measured = time_in_turns(commands, {}, tmp_path, rounds=3, pictures=2)
    assert log.read_text().split() == ["a", "2", "b", "2"] * 3
    assert round(measured["a"].detecting, 6) == 10 and round(measured["b"].detecting, 6) == 30
    assert round(measured["b"].with_loading, 6) == 31
    again = time_in_turns(commands, {}, tmp_path, rounds=1, pictures=1)
    sessions = [each.session for each in (*measured.values(), *again.values())]
    assert sessions[0] == sessions[1] != sessions[2] == sessions[3]


def test_one_that_fails_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    commands = {
        "broken": [sys.executable, "-S", "-c", "raise SystemExit(3)"],
        "dies": command("dies", 1.0, log),
        "good": command("good", 0.010, log),
    }
    assert list(time_in_turns(commands, {}, tmp_path, rounds=2, pictures=1)) == ["good"]
