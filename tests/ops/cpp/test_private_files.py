"""Compiled code is taken from this user alone, and written where no link leads away."""

import os
import stat
from pathlib import Path

import pytest

from dyhead.ops.cpp.private_files import (
    is_private_file,
    make_private_folder,
    open_private_file,
    refuse_foreign_folder,
    write_private_file,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owners here")
STRANGER = 12345


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_this_users_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_private_folder(tmp_path / "a" / "cache")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "a" / "cache") == 0o700


def test_an_own_folder_that_others_may_write_is_closed(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    make_private_folder(tmp_path / "cache")
    assert mode_of(tmp_path / "cache") == 0o700


def test_a_link_and_a_file_are_no_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(OSError, match="is a link, which is not followed"):
        make_private_folder(tmp_path / "link")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is no folder"):
        make_private_folder(tmp_path / "file")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives files")
def test_another_users_folder_and_file_are_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "library.so").write_text("")
    (tmp_path / "library.so").chmod(0o600)
    assert is_private_file(tmp_path / "library.so")
    os.chown(tmp_path / "library.so", STRANGER, STRANGER)
    assert not is_private_file(tmp_path / "library.so")
    (tmp_path / "cache").mkdir()
    os.chown(tmp_path / "cache", STRANGER, STRANGER)
    with pytest.raises(OSError, match=f"belongs to another user .number {STRANGER}"):
        refuse_foreign_folder(tmp_path / "cache")


def test_a_file_that_others_may_write_a_link_and_none_are_not_trusted(tmp_path: Path) -> None:
    file = tmp_path / "library.so"
    assert not is_private_file(file)
    file.write_text("")
    for mode, is_trusted in ((0o600, True), (0o755, True), (0o620, False), (0o602, False)):
        file.chmod(mode)
        assert is_private_file(file) == is_trusted
    file.chmod(0o600)
    (tmp_path / "link.so").symlink_to(file)
    assert not is_private_file(tmp_path / "link.so")


def test_opening_keeps_what_a_file_holds_and_follows_no_link(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("precious")
    os.close(open_private_file(file, os.O_RDWR))
    assert file.read_text() == "precious"
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(OSError):
        open_private_file(tmp_path / "link", os.O_RDWR)
    with pytest.raises(OSError):
        write_private_file(tmp_path / "link", "gone")
    assert file.read_text() == "precious"
    write_private_file(tmp_path / "new", "text")
    assert (tmp_path / "new").read_text() == "text" and mode_of(tmp_path / "new") == 0o600
