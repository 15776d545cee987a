"""Writing files so that a kill at any moment leaves either the old content or the new one."""

import contextlib
import os
from collections.abc import Callable
from typing import IO, Any

import torch


def save_checkpoint_file(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write `obj` with `torch.save`, atomically.

    One process writes a given path at a time. What a kill leaves is a hidden `.<name>.tmp` beside
    it, which the next save under that name overwrites.

    Args:
        obj: what `torch.load(weights_only=True)` can read back: tensors and plain containers.
        path: a local file in an existing folder.

    Raises:
        OSError: the folder is missing, or the disk is full; an older file stays as it was.
    """
    _replace_atomically(os.fspath(path), ".tmp", lambda file: torch.save(obj, file))


def write_text_atomically(text: str, path: str | os.PathLike[str]) -> None:
    """Write `text` as UTF-8, atomically; several processes may write the same path.

    Raises:
        OSError: the folder is missing, or the disk is full; an older file stays as it was.
    """
    write_bytes_atomically(text.encode("utf-8"), path)


def write_bytes_atomically(data: bytes, path: str | os.PathLike[str]) -> None:
    """Write `data`, atomically; several processes may write the same path.

    Raises:
        OSError: the folder is missing, or the disk is full; an older file stays as it was.
    """
    _replace_atomically(os.fspath(path), f".{os.getpid()}.tmp", lambda file: file.write(data))


def _replace_atomically(path: str, suffix: str, write: Callable[[IO[bytes]], Any]) -> None:
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f".{name}{suffix}")  # same folder: a rename never copies
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """Make a rename survive a power cut, where the system can open folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
