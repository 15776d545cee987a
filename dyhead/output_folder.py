"""Makes the folder of a command's results."""

import os
from pathlib import Path

from dyhead.errors import UserError, user_errors


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
