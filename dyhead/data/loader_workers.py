"""The end of a loader's worker processes, whether signals or the training process bring it."""

import signal
import sys
from multiprocessing import AuthenticationError
from types import TracebackType

from torch.utils.data import get_worker_info

_SECONDS_AFTER_SIGTERM = 20  # that a loader worker lives on, to let a step be finished


def outlive_signals() -> None:
    """Let a loader worker go on for a while when a signal reaches the whole group of processes.

    The training process finishes its step then, for which it may need this worker's images.
    """
    if get_worker_info() is None:
        return
    sys.excepthook = print_unless_disconnected
    if not hasattr(signal, "SIGALRM"):
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_SECONDS_AFTER_SIGTERM))
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def print_unless_disconnected(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an error that nobody caught, in a loader worker: all but the end of its run.

    A thread of multiprocessing hands over the files in which batches lie. It prints what it meets:
    where the training process ends at that moment, a connection that was broken off. What goes
    wrong with images takes another way, to the training process.
    """
    if not issubclass(kind, EOFError | ConnectionError | AuthenticationError):
        sys.__excepthook__(kind, error, trace)
