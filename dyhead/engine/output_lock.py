"""Keeps an output folder to one run at a time."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

from dyhead.d2.utils import comm
from dyhead.errors import UserError, user_errors
from dyhead.output_folder import lock_folder
from dyhead.safe_io.save import remove_leftovers

LOCK_NAME = "run.lock"


@contextmanager
def held_output_folder(folder: str) -> Iterator[None]:
    """Make a folder and hold its lock within, in the main process, and clean up after killed runs.

    All processes of a run call it. They wait for the cleaning: what one of them begins to write
    before would be taken for what a killed run has left.

    Raises:
        UserError: another run uses the folder, or it cannot be written; in every process.
    """
    with ExitStack() as held:
        refusal: UserError | None = None
        if comm.is_main_process():
            try:
                held.enter_context(_take(folder))
            except UserError as error:
                refusal = error
        message = comm.all_gather("" if refusal is None else str(refusal))[0]
        if message:
            raise refusal or UserError(message)
        yield


@contextmanager
def _take(folder: str) -> Iterator[None]:
    with user_errors("OUTPUT_DIR cannot be written"):
        os.makedirs(folder, exist_ok=True)
        lock = lock_folder(folder, LOCK_NAME, "OUTPUT_DIR")
    with lock or nullcontext():
        if lock:
            remove_leftovers(folder)
        yield
