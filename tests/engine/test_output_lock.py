"""One run at a time has an output folder."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dyhead.engine import output_lock
from dyhead.engine.output_lock import LOCK_NAME, held_output_folder
from dyhead.errors import UserError

TRY = """
import sys
from dyhead.safe_io.lock import FileLock, LockedError
try:
    FileLock(sys.argv[1])
except LockedError:
    sys.exit(3)
"""


def status_of_another(folder: Path) -> int:
    return subprocess.run([sys.executable, "-c", TRY, str(folder / LOCK_NAME)]).returncode


def test_it_is_made_held_and_given_back(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with held_output_folder(str(folder)):
        assert status_of_another(folder) == 3
    assert status_of_another(folder) == 0


def test_what_a_killed_run_was_saving_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".model_0000003.pth.0123456789abcdef.tmp").write_bytes(b"half")
    (tmp_path / ".env.txt.0123456789abcdef.tmp").write_bytes(b"half")
    kept = [".other.tmp", "model_0000001.pth"]
    for name in kept:
        (tmp_path / name).write_bytes(b"")
    with held_output_folder(str(tmp_path)):
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*kept, LOCK_NAME])


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="OUTPUT_DIR cannot be written"),
        held_output_folder(str(tmp_path / "file" / "run")),
    ):
        pytest.fail("the run began")


def test_a_file_system_without_locks_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(path: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("dyhead.output_folder.FileLock", fail)
    with caplog.at_level(logging.WARNING, "dyhead"), held_output_folder(str(tmp_path)):
        assert "cannot be locked" in caplog.text


def test_the_other_processes_of_a_run_wait_and_are_refused_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_lock.comm, "is_main_process", lambda: False)
    monkeypatch.setattr(output_lock.comm, "all_gather", lambda _: ["it is in use", ""])
    with pytest.raises(UserError, match="it is in use"), held_output_folder(str(tmp_path / "run")):
        pass
    monkeypatch.setattr(output_lock.comm, "all_gather", lambda _: ["", ""])
    with held_output_folder(str(tmp_path / "run")):
        assert not (tmp_path / "run").exists()
