"""Keeps an output folder to one run at a time."""

import logging
import os

from dyhead.errors import UserError
from dyhead.safe_io.lock import FileLock, LockedError
from dyhead.safe_io.save import remove_leftovers

LOCK_NAME = "run.lock"
_held: dict[str, FileLock] = {}  # by folder, until the process ends

logger = logging.getLogger(__name__)


def hold_output_folder(folder: str) -> None:
    """Lock a folder for as long as this process lives, and clean up after killed ones.

    Raises:
        UserError: another run uses the folder.
        OSError: the folder cannot be written.
    """
    path = os.path.realpath(folder)
    if path in _held:
        return
    try:
        _held[path] = FileLock(os.path.join(path, LOCK_NAME))
    except LockedError as error:
        raise UserError(
            f"OUTPUT_DIR {folder} is in use by another run ({error.holder}): wait for its end, or"
            " choose another OUTPUT_DIR."
        ) from error
    except PermissionError:
        raise
    except OSError as error:
        logger.warning("%s cannot be locked (%s): start only one run in it.", folder, error)
        return
    remove_leftovers(path)
