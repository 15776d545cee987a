"""Places of a command's results: files that are no input, folders that can be written."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dyhead.errors import UserError, user_errors
from dyhead.safe_io.lock import FileLock, LockedError

logger = logging.getLogger(__name__)


def refuse_inputs(output: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Check that a file to write is none of those that are read, by another name or link either.

    Raises:
        UserError: it is.
    """
    for each in inputs:
        if os.path.exists(output) and os.path.exists(each) and os.path.samefile(output, each):
            raise UserError(f"{output} is an input, which stays as it is: name another file.")


def make_output_folder(folder: Path, option: str) -> None:
    """Make a folder, and check at once that files can be written in it.

    Args:
        folder: it and those above it are made.
        option: what the user wrote, such as "--output found", for errors.

    Raises:
        UserError: it cannot be made or written.
    """
    with user_errors(option):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise UserError(f"{option}: the folder cannot be written, choose another one.")


def lock_folder(folder: str | os.PathLike[str], name: str, option: str) -> FileLock | None:
    """Take the lock of a folder that one run at a time may write.

    Args:
        folder: an existing one.
        name: of the lock's file in it.
        option: that names the folder, for errors: "--output", "OUTPUT_DIR".

    Returns:
        the lock; None, after a warning, where the file system knows no locks.

    Raises:
        UserError: another run has it.
        PermissionError: its file cannot be written.
    """
    try:
        return FileLock(os.path.join(folder, name))
    except LockedError as error:
        raise UserError(
            f"{option} {os.fspath(folder)} is in use by another run ({error.holder}): wait for its"
            f" end, or choose another {option}."
        ) from error
    except PermissionError:
        raise
    except OSError as error:
        logger.warning("%s cannot be locked (%s): start only one run in it.", folder, error)
        return None


@contextmanager
def write_errors(source: str) -> Iterator[None]:
    """Turn a full disk or a missing right into `UserError`; other errors within are bugs.

    Args:
        source: put before the message, such as "--output found".

    Raises:
        UserError: in place of an OSError from the body.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{source}: {error}") from error
