"""Tells how far a check has come, where it takes long."""

import logging
import time

from dyhead.data.checks.images import Progress

_SECONDS_BETWEEN_LINES = 10.0

logger = logging.getLogger(__name__)


def log_progress(name: str) -> Progress:
    """Make a progress function that logs a line every 10 seconds.

    Args:
        name: of the data set.
    """
    start = last = time.monotonic()

    def log(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES and done:
            last = now
            left = (now - start) / done * (total - done)
            logger.info(
                "%s: %d of %d image files looked at; %.0f s left", *(name, done, total, left)
            )

    return log
