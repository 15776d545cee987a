"""Locks on files that end with the process that holds them, however that ends."""

import contextlib
import errno
import json
import os
import socket
import sys
import time
from types import TracebackType
from typing import IO, Any

from dyhead.safe_io.json_text import strict_json

if sys.platform == "win32":
    import msvcrt

    _FAR_AWAY = 2**30  # Windows lets nobody read a locked byte: one behind the content is locked

    def _acquire(file: IO[Any]) -> None:
        file.seek(_FAR_AWAY)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _acquire(file: IO[Any]) -> None:
        # Of the process: unlike flock's, this lock is not kept by loader workers that it leaves.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


class LockedError(OSError):
    """A lock that another process holds; `holder` says in words which."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"locked by {holder}")
        self.holder = holder


class FileLock:
    """A lock of the operating system on a file, which tells who holds it.

    It is gone with the process, also with one that was killed, so no lock is ever left over. Within
    a process it does not exclude.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Take the lock of `path`, a file in an existing folder, which is made if missing.

        Raises:
            LockedError: another process has it.
            OSError: the file cannot be written, or its file system knows no locks.
        """
        self._file = open(path, "a+b")  # noqa: SIM115  open as long as the lock is held
        try:
            _acquire(self._file)
        except OSError as error:
            holder = self._read_holder()
            self._file.close()
            if error.errno in _TAKEN:
                raise LockedError(holder) from error
            raise
        self._write_holder()

    def _read_holder(self) -> str:
        try:
            self._file.seek(0)
            told = json.loads(self._file.read(1000))
            return f"process {told['pid']} on {told['host']}, since {told['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def _write_holder(self) -> None:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        told = {"pid": os.getpid(), "host": socket.gethostname(), "since": now}
        self._file.truncate(0)
        self._file.write(strict_json(told).encode())
        self._file.flush()

    def release(self) -> None:
        """Give the lock back; the file stays, empty."""
        if not self._file.closed:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
            self._file.close()

    def __enter__(self) -> "FileLock":
        """Return the lock, which is held already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the lock back."""
        self.release()
