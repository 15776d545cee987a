"""Whatever happens while a file is written, its path holds the old content or the new one."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from dyhead.safe_io.save import remove_leftovers, save_checkpoint_file, write_text_atomically

KILLED_BEFORE_RENAME = """
import os, signal, sys
from dyhead.safe_io import save
save.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
save.save_checkpoint_file({"step": 2}, sys.argv[1])
"""


def test_what_was_saved_can_be_loaded(tmp_path):
    path = tmp_path / "model.pth"
    save_checkpoint_file({"step": 1, "w": torch.arange(3)}, path)
    save_checkpoint_file({"step": 2, "w": torch.arange(4)}, path)
    assert torch.load(path, weights_only=True)["step"] == 2
    assert os.listdir(tmp_path) == ["model.pth"]


def test_a_kill_before_the_rename_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.pth"
    save_checkpoint_file({"step": 1}, path)
    killed = subprocess.run([sys.executable, "-c", KILLED_BEFORE_RENAME, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [name for name in os.listdir(tmp_path) if name.endswith(".pth")] == ["model.pth"]
    (tmp_path / ".mine.pth.tmp").write_text("")
    assert remove_leftovers(tmp_path) == 1
    assert sorted(os.listdir(tmp_path)) == [".mine.pth.tmp", "model.pth"]


def test_a_failing_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "model.pth"
    save_checkpoint_file({"step": 1}, path)
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint_file({"step": lambda: None}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert os.listdir(tmp_path) == ["model.pth"]


def test_text_is_written_whole(tmp_path):
    path = tmp_path / "last_checkpoint"
    write_text_atomically("old", path)
    write_text_atomically("ümläut\n", str(path))
    assert path.read_text(encoding="utf-8") == "ümläut\n"
    assert os.listdir(tmp_path) == ["last_checkpoint"]


def test_a_relative_path_is_written_to_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text_atomically("x", "here.txt")
    assert os.listdir(tmp_path) == ["here.txt"]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_text_atomically("x", tmp_path / "missing" / "file.txt")
