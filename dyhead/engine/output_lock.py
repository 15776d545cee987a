"""Keeps an output folder to one run at a time."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from dyhead.d2.utils import comm
from dyhead.errors import UserError, user_errors
from dyhead.safe_io.lock import FileLock, LockedError
from dyhead.safe_io.save import remove_leftovers

LOCK_NAME = "run.lock"

logger = logging.getLogger(__name__)


@contextmanager
def held_output_folder(folder: str) -> Iterator[None]:
    """Make a folder and hold its lock within, in the main process, and clean up after killed runs.

    Raises:
        UserError: another run uses the folder, or it cannot be written.
    """
    if not comm.is_main_process():
        yield
        return
    with user_errors("OUTPUT_DIR cannot be written"):
        os.makedirs(folder, exist_ok=True)
        lock = _lock(folder)
    with lock or nullcontext():
        if lock:
            remove_leftovers(folder)
        yield


def _lock(folder: str) -> FileLock | None:
    try:
        return FileLock(os.path.join(folder, LOCK_NAME))
    except LockedError as error:
        raise UserError(
            f"OUTPUT_DIR {folder} is in use by another run ({error.holder}): wait for its end, or"
            " choose another OUTPUT_DIR."
        ) from error
    except PermissionError:
        raise
    except OSError as error:
        logger.warning("%s cannot be locked (%s): start only one run in it.", folder, error)
        return None
