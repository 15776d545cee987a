"""A checkpoint that has no room on the disk is refused before anything is written."""

import collections
import errno
import os
from pathlib import Path

import pytest
import torch

from dyhead.safe_io.save import save_checkpoint_file, write_text_atomically

Usage = collections.namedtuple("Usage", "total used free")


def test_a_checkpoint_larger_than_what_is_free_is_refused_with_both_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(b"earlier")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(9 << 20, 8 << 20, 1 << 20))
    content = {"model": {"weight": torch.zeros(3 << 18)}, "list": [(torch.zeros(1 << 10),)]}
    with pytest.raises(OSError, match="it takes 3 MiB, 1 MiB are free") as error:
        save_checkpoint_file(content, path)
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(path))
    assert os.listdir(tmp_path) == ["model.pth"] and path.read_bytes() == b"earlier"


def test_memory_that_tensors_share_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(9 << 20, 0, 5 << 20))
    weight = torch.zeros(1 << 20)  # 4 MiB
    save_checkpoint_file({"a": weight, "b": weight.view(2, -1), "c": weight[:7]}, tmp_path / "m")


def test_a_disk_that_fills_up_meanwhile_leaves_the_earlier_file_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tag"
    path.write_text("earlier")

    def fill_up(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fill_up)
    with pytest.raises(OSError, match="No space left") as error:
        write_text_atomically("new", path)
    assert error.value.filename == str(path)
    assert os.listdir(tmp_path) == ["tag"] and path.read_text() == "earlier"
