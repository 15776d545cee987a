"""The commands of docs/view.md, which end when they are interrupted, serve a page until then."""

import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from documents import PROJECT, block_with
from label_files import write_yolo

VIEW_PAGE = PROJECT / "docs" / "view.md"
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("line", block_with(VIEW_PAGE, "bash", "dyhead view").splitlines())
def test_the_commands_of_the_document_serve_a_page(
    line: str, run_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "output").mkdir()
    run_folder.rename(tmp_path / "output" / "cells")
    yolo = write_yolo(tmp_path / "cells")
    yolo.write_text(f"{yolo.read_text()}\nval: images/train\n")
    words = [sys.executable, "-m", *shlex.split(line, comments=True), "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    port = next(found[1] for text in process.stdout if (found := _ADDRESS.match(text)))
    connection = http.client.HTTPConnection("127.0.0.1", int(port))
    connection.request("GET", "/sets.json")
    assert json.loads(connection.getresponse().read())["sets"][-1]["pictures"] == 4
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[0] == "Stopped.\n"
