"""Pictures that a run leaves: a run goes on without one that cannot be drawn."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


@contextmanager
def picture(path: str, subject: str) -> Iterator[None]:
    """Draw a picture within: say where it is, or why there is none.

    Args:
        path: of the picture, for the log.
        subject: what it shows.
    """
    try:
        yield
    except Exception as error:  # what a drawing library or a full disk raises is no fault of a run
        reason = " ".join(str(error).split()) or type(error).__name__
        logger.warning("No picture of %s (%s): %s", subject, path, reason)
    else:
        logger.info("Picture: %s: %s", subject, path)
