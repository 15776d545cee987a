"""Stops a training in good order when a signal asks for it: the step is finished and saved."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from dyhead.d2.engine import HookBase
from dyhead.d2.utils import comm

# SIGUSR1 is what SLURM is told to send before the time is up; Windows has none.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)
)
INTERRUPTED, TERMINATED = 130, 143
EXIT_STATUSES = (INTERRUPTED, TERMINATED)
_SAME_REQUEST = 1.0  # seconds: a terminal and a launcher both pass a Ctrl-C on


class StopRequested(BaseException):
    """Ends the training loop, on its way to `Stopped`; no `except Exception` may hold it up."""

    def __init__(self, number: int, is_agreed: bool) -> None:
        """Stop for a signal.

        Args:
            number: of the signal.
            is_agreed: all processes stop after the same step; otherwise this one alone was called
                out of an evaluation.
        """
        super().__init__(name_of(number))
        self.number = number
        self.is_agreed = is_agreed


class Stopped(SystemExit):
    """Ends the program after an orderly stop, with 130 for SIGINT and 143 for other signals."""


def name_of(number: int) -> str:
    """Return the name of a signal, such as "SIGTERM"."""
    return signal.Signals(number).name


def exit_status(number: int) -> int:
    """Return the exit status of a program that a signal has stopped in good order."""
    return INTERRUPTED if number == signal.SIGINT else TERMINATED


class StopSignals:
    """Takes the signals that ask for a stop, as long as it is entered.

    The first one is remembered for `StopHook`, and interrupts an evaluation at once. A second
    Ctrl-C is a KeyboardInterrupt.

    Attributes:
        requested: number of the first signal; None before.
    """

    current: "StopSignals | None" = None

    def __init__(self) -> None:
        self.requested: int | None = None
        self._since = 0.0
        self._may_raise = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        """Begin to take signals, where this is the main thread."""
        StopSignals.current = self
        if threading.current_thread() is threading.main_thread():
            self._previous = {n: signal.signal(n, self._handle) for n in STOP_SIGNALS}
        return self

    def __exit__(self, *_: Any) -> None:
        """Give the signals back to who had them."""
        StopSignals.current = None
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested is None:
            self.requested, self._since = number, now
            _announce(number)
            self._raise_if_allowed()
        elif number == signal.SIGINT and now - self._since > _SAME_REQUEST:
            raise KeyboardInterrupt

    def _raise_if_allowed(self) -> None:
        if self._may_raise and self.requested is not None:
            self._may_raise = False
            raise StopRequested(self.requested, is_agreed=False)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a signal end what runs within at once."""
        self._may_raise = True
        try:
            self._raise_if_allowed()
            yield
        finally:
            self._may_raise = False


def _announce(number: int) -> None:
    """Tell the user that the signal has arrived; plain output, for a log may be in use just now."""
    if comm.is_main_process():
        again = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
        text = f"\n{name_of(number)}: stopping after this step, which is saved{again}.\n"
        os.write(2, text.encode())


@contextmanager
def interruptible() -> Iterator[None]:
    """Mark an evaluation: a signal ends it at once, since it may take longer than is left."""
    if StopSignals.current is None:
        yield
        return
    with StopSignals.current.interrupting():
        yield


class StopHook(HookBase):
    """Stops all processes after the same step, when a signal has reached one of them.

    Register it after the hook that saves checkpoints and before the one that evaluates.
    """

    def after_step(self) -> None:
        """Stop if it was asked for.

        Raises:
            StopRequested: it was.
        """
        signals = StopSignals.current
        if signals is None:
            return
        number = signals.requested or 0
        if comm.get_world_size() > 1:
            number = max(comm.all_gather(number))
        if number:
            raise StopRequested(number, is_agreed=True)
