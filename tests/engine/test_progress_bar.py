"""A training shows a bar on a terminal, and lines elsewhere."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from small_program import PROJECT, call, command_line, environment, log_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no pseudo-terminals")


def run_on_terminal(arguments: list[str], **variables: str) -> str:
    """Return what train_net.py shows on a terminal of its own."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
    line = [sys.executable, str(PROJECT / "train_net.py"), *arguments]
    process = subprocess.Popen(
        line, stdout=theirs, stderr=theirs, cwd=PROJECT, env={**environment(), **variables}
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # Linux: the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    assert process.wait(timeout=100) == 0, shown.decode()
    return shown.decode()


@pytest.mark.slow
def test_a_terminal_gets_a_bar_and_the_file_gets_lines(tmp_path: Path) -> None:
    shown = run_on_terminal(command_line(tmp_path))
    assert re.search(r"Training: 100%\|.*\| 2/2 \[\d\d:\d\d<\d\d:\d\d, loss [\d.]+", shown)
    assert "total_loss" not in shown
    assert "Training on 4 images" in shown
    assert "total_loss" in log_of(tmp_path / "run")


@pytest.mark.slow
def test_the_bar_can_be_turned_off(tmp_path: Path) -> None:
    shown = run_on_terminal(command_line(tmp_path), TQDM_DISABLE="1")
    assert "Training:" not in shown and "total_loss" in shown


@pytest.mark.slow
def test_elsewhere_there_are_lines_and_no_bar(tmp_path: Path) -> None:
    done = call(command_line(tmp_path))
    assert "Training:" not in done.stdout + done.stderr and "total_loss" in done.stdout
