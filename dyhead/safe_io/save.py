"""Writing files so that a kill at any moment leaves either the old content or the new one."""

import contextlib
import errno
import glob
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import torch


def save_checkpoint_file(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write `obj` with `torch.save`, atomically.

    What a kill leaves is a hidden `.<name>.<number>.tmp` beside it: see `remove_leftovers`.

    Args:
        obj: what `torch.load(weights_only=True)` can read back: tensors and plain containers.
        path: a local file in an existing folder.

    Raises:
        OSError: the folder is missing, or the disk is full; an older file stays as it was.
    """
    _refuse_full_disk(os.fspath(path), _size_of(obj))
    _replace_atomically(os.fspath(path), lambda file: torch.save(obj, file))


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
    _replace_atomically(os.fspath(path), lambda file: file.write(data))


def remove_leftovers(folder: str | os.PathLike[str]) -> int:
    """Remove the files that killed processes have begun to write; return their number.

    Call it where nobody else writes into the folder and those in it, as the holder of its lock.
    """
    root = glob.escape(os.fspath(folder))
    patterns = (os.path.join(root, *below, ".*.[0-9a-f]*.tmp") for below in ((), ("*",)))
    paths = (path for pattern in patterns for path in glob.glob(pattern))
    found = [path for path in paths if _is_temporary(os.path.basename(path))]
    for path in found:
        with contextlib.suppress(OSError):
            os.unlink(path)
    return len(found)


def _temporary_name(name: str) -> str:
    return f".{name}.{secrets.token_hex(8)}.tmp"


def _is_temporary(name: str) -> bool:
    number = name.removesuffix(".tmp").rpartition(".")[2]
    return len(number) == 16 and set(number) <= set("0123456789abcdef")


def _refuse_full_disk(path: str, needed: int) -> None:
    """Refuse a file that cannot have room, before the disk is filled up to the last byte."""
    try:
        free = shutil.disk_usage(os.path.dirname(os.path.abspath(path))).free
    except OSError:  # there is no such folder: the writing will say so
        return
    if needed > free:
        sizes = f"it takes {needed / 2**20:.0f} MiB, {free / 2**20:.0f} MiB are free"
        raise OSError(errno.ENOSPC, sizes, path)


def _tensors(obj: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested containers."""
    if isinstance(obj, torch.Tensor):
        yield obj
    elif isinstance(obj, Mapping | list | tuple):
        for value in obj.values() if isinstance(obj, Mapping) else obj:
            yield from _tensors(value)


def _size_of(obj: Any) -> int:
    """Count the bytes of all tensors in nested containers, memory that they share once."""
    storages = [tensor.untyped_storage() for tensor in _tensors(obj)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _replace_atomically(path: str, write: Callable[[IO[bytes]], Any]) -> None:
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, _temporary_name(name))  # same folder: a rename never copies
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        no_use = None, temporary  # to a reader: writing to an open file does not tell which one
        for failed in (error, error.__context__):  # torch.save makes another error of it
            if isinstance(failed, OSError) and failed.errno and failed.filename in no_use:
                failed.filename = path
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
