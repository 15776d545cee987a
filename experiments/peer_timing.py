"""Times several trained peers in turns, so that a busy machine slows all of them alike."""

import contextlib
import os
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from peer_protocol import heard


@dataclass(frozen=True)
class Milliseconds:
    """Medians of one picture's detection, without and with the loading of its file.

    Attributes:
        detecting: without.
        with_loading: with it.
        session: the time when those that took turns with it began; "" of results before they told.
    """

    detecting: float
    with_loading: float
    session: str = ""


class TimedPeer:
    """A process of a peer's script that detects when it is told to.

    Args:
        command: of the script, in its form `time`.
        environment: of the process.
        log: the file of what it prints to its error output.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **environment},
            )
        self._measured: list[tuple[float, float]] = []

    def wait(self) -> bool:
        """Wait until it is ready; False if it ended before."""
        return self._answer() is not None

    def detect(self, count: int) -> None:
        """Have it detect in the next pictures.

        Raises:
            OSError: it has ended.
        """
        print(count, file=_pipe(self._process.stdin), flush=True)
        self._measured += self._answer() or []

    def _answer(self) -> Any:
        for line in _pipe(self._process.stdout):
            if (content := heard(line)) is not None:
                return content
        return None

    def medians(self, session: str) -> Milliseconds | None:
        """Return the medians over all pictures of a session; None where there are none."""
        if not self._measured:
            return None
        detecting, whole = (
            1000 * statistics.median(each) for each in zip(*self._measured, strict=True)
        )
        return Milliseconds(detecting, whole, session)

    def end(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            _pipe(self._process.stdin).close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None, "opened by the constructor"
    return pipe


def time_in_turns(
    commands: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
    folder: Path,
    rounds: int,
    pictures: int,
) -> dict[str, Milliseconds]:
    """Time every command's peer; all are loaded before the first one is timed.

    Args:
        commands: of peers' scripts, by name.
        environment: of the processes.
        folder: of their logs.
        rounds: of turns.
        pictures: of each turn.

    Returns:
        medians by name, without those that failed.
    """
    session = datetime.now().astimezone().isoformat(timespec="milliseconds")
    peers = {
        name: TimedPeer(command, environment, folder / f"time-{number}.log")
        for number, (name, command) in enumerate(commands.items())
    }
    try:
        ready = [peer for peer in peers.values() if peer.wait()]
        for _ in range(rounds):
            for peer in ready:
                with contextlib.suppress(OSError):
                    peer.detect(pictures)
    finally:
        for peer in peers.values():
            peer.end()
    measured = {name: peer.medians(session) for name, peer in peers.items()}
    return {name: medians for name, medians in measured.items() if medians}
