"""Keeps files that only their owner may have written, where other users share the machine.

A compiled library is code that runs as whoever loads it. So it has to come from this user, or from
the administrator: its owner and its mode are looked at, of its folder and of itself, and no link is
followed. Systems without owners of files, as Windows, have nothing to look at.
"""

import os
import stat
from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


def make_private_folder(folder: Path) -> None:
    """Make a folder that nobody else can use, or make this user's own one so.

    Raises:
        OSError: it cannot be made, or is a link, another user's, or no folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=_FOLDER_MODE)
    except FileExistsError:
        refuse_foreign_folder(folder)
        if _is_mine(folder.lstat()):
            folder.chmod(_FOLDER_MODE)


def refuse_foreign_folder(folder: Path) -> None:
    """Make sure that a folder is this user's or the administrator's.

    Raises:
        OSError: it is a link, another user's, or no folder, or it is not there.
    """
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise OSError(f"{folder} is a link, which is not followed: name the folder itself")
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{folder} is no folder")
    if not _is_trusted_owner(found):
        raise OSError(f"{folder} belongs to another user (number {found.st_uid})")


def is_private_file(path: Path) -> bool:
    """Tell if a file is there, no link, and could be written by its trusted owner alone."""
    try:
        found = path.lstat()
    except OSError:
        return False
    if not hasattr(os, "getuid"):
        return stat.S_ISREG(found.st_mode)
    return (
        stat.S_ISREG(found.st_mode)
        and _is_trusted_owner(found)
        and not found.st_mode & _OTHERS_WRITE
    )


def open_private_file(path: Path, flags: int) -> int:
    """Open a file, made if it is missing, without following a link; return its descriptor.

    Args:
        path: in a private folder.
        flags: as for `os.open`; without os.O_TRUNC what the file holds stays.

    Raises:
        OSError: it is a link, or cannot be opened.
    """
    no_links = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    return os.open(path, flags | os.O_CREAT | no_links, _FILE_MODE)


def write_private_file(path: Path, text: str) -> None:
    """Write a text; a link of that name is not followed.

    Raises:
        OSError: as for `open_private_file`.
    """
    with open(open_private_file(path, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file:
        file.write(text)


def _is_mine(found: os.stat_result) -> bool:
    return not hasattr(os, "getuid") or found.st_uid == os.getuid()


def _is_trusted_owner(found: os.stat_result) -> bool:
    return _is_mine(found) or found.st_uid == 0
