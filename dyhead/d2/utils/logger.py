"""Loggers on the console and in files, and messages that do not repeat too often."""

import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from types import FrameType
from typing import Any

from tabulate import tabulate
from termcolor import colored

_TIME_FORMAT = "%m/%d %H:%M:%S"
_PLAIN_FORMAT = "[%(asctime)s] %(name)s %(levelname)s: %(message)s"
_COLORED_FORMAT = colored("[%(asctime)s %(name)s]: ", "green") + "%(message)s"
_LEVEL_COLORS = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}

_Occurrence = tuple[Any, ...]
_counts: Counter[_Occurrence] = Counter()
_last_times: dict[_Occurrence, float] = {}


def setup_logger(
    output: str | None = None,
    distributed_rank: int = 0,
    *,
    color: bool = True,
    name: str = "detectron2",
    abbrev_name: str | None = None,
    enable_propagation: bool = False,
    configure_stdout: bool = True,
) -> logging.Logger:
    """Let a logger write to the console (rank 0 only, from INFO up) and all to a file per process.

    Calling it again with the same file changes nothing; with another file, that one is added.

    Args:
        output: a file that ends in .txt or .log, or a folder for log.txt; None for no file. Other
            ranks than 0 append ".rank<N>" to the file's name.
        distributed_rank: number of this process.
        color: color the console, where it is a terminal that shows colors.
        name: the logger to set up.
        abbrev_name: what to write for `name`; None abbreviates "detectron2" to "d2".
        enable_propagation: also hand the messages to the parent logger.
        configure_stdout: write to the console at all.

    Returns:
        The logger.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = enable_propagation
    if abbrev_name is None:
        abbrev_name = "d2" if name == "detectron2" else name
    if configure_stdout and distributed_rank == 0 and not _has_console(logger):
        formatter = _Formatter(name, abbrev_name, color)
        _add(logger, logging.StreamHandler(sys.stdout), formatter, logging.INFO)
    if output is not None:
        path = _log_path(output, distributed_rank)
        if not any(getattr(h, "baseFilename", None) == path for h in logger.handlers):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            formatter = _Formatter(name, abbrev_name, colored=False)
            _add(logger, logging.FileHandler(path), formatter, logging.DEBUG)
    return logger


class _Formatter(logging.Formatter):
    """Abbreviates the logger's name, and on the console colors time, name and warnings."""

    def __init__(self, name: str, abbreviation: str, colored: bool) -> None:
        super().__init__(_COLORED_FORMAT if colored else _PLAIN_FORMAT, datefmt=_TIME_FORMAT)
        self._name = name
        self._abbreviation = abbreviation
        self._colored = colored

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        full_name = record.name
        if (full_name + ".").startswith(self._name + "."):
            record.name = self._abbreviation + full_name.removeprefix(self._name)
        line = super().formatMessage(record)
        record.name = full_name  # other handlers get the same record
        level_color = _LEVEL_COLORS.get(record.levelno)
        if self._colored and level_color is not None:
            line = f"{colored(record.levelname, level_color, attrs=['bold'])} {line}"
        return line


def _has_console(logger: logging.Logger) -> bool:
    return any(type(handler) is logging.StreamHandler for handler in logger.handlers)


def _add(
    logger: logging.Logger, handler: logging.Handler, formatter: logging.Formatter, level: int
) -> None:
    handler.setLevel(level)
    handler.setFormatter(formatter)
    logger.addHandler(handler)


def _log_path(output: str, rank: int) -> str:
    path = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
    return os.path.abspath(path if rank == 0 else f"{path}.rank{rank}")


def _caller() -> tuple[str, _Occurrence]:
    """Return the module that called this file, and where exactly it did."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    if frame is None:
        raise RuntimeError("There is no caller outside of the logger module.")
    code = frame.f_code
    return frame.f_globals["__name__"], (code.co_filename, frame.f_lineno, code.co_name)


def log_first_n(
    lvl: int,
    msg: str,
    n: int = 1,
    *,
    name: str | None = None,
    key: str | tuple[str, ...] = "caller",
) -> None:
    """Log a message only the first n times.

    Args:
        lvl: level of the logging module.
        msg: the message.
        n: how often at most.
        name: logger; None for that of the calling module.
        key: what counts as the same: "caller", "message", or both.

    Raises:
        ValueError: `key` holds anything else.
    """
    keys = (key,) if isinstance(key, str) else tuple(key)
    if not keys or not set(keys) <= {"caller", "message"}:
        raise ValueError(f'key={key!r} has to be "caller", "message", or a tuple of them.')
    module, place = _caller()
    occurrence = (*(place if "caller" in keys else ()), *((msg,) if "message" in keys else ()))
    _counts[occurrence] += 1
    if _counts[occurrence] <= n:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None) -> None:
    """Log a message on the first of every n calls from the same place.

    Args:
        lvl: level of the logging module.
        msg: the message.
        n: how many calls make one message.
        name: logger; None for that of the calling module.
    """
    module, place = _caller()
    _counts[place] += 1
    if n == 1 or _counts[place] % n == 1:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n_seconds(lvl: int, msg: str, n: float = 1, *, name: str | None = None) -> None:
    """Log a message from the same place at most once in n seconds.

    Args:
        lvl: level of the logging module.
        msg: the message.
        n: seconds.
        name: logger; None for that of the calling module.
    """
    module, place = _caller()
    now = time.monotonic()
    last = _last_times.get(place)
    if last is None or now - last >= n:
        _last_times[place] = now
        logging.getLogger(name or module).log(lvl, msg)


def create_small_table(small_dict: dict[str, Any]) -> str:
    """Return a table of one row, with the keys as its header, for the log."""
    headers: Iterable[str] = small_dict.keys()
    return tabulate(
        [list(small_dict.values())],
        headers=list(headers),
        tablefmt="pipe",
        floatfmt=".3f",
        stralign="center",
        numalign="center",
    )
