"""`dyhead export`: what it refuses before it works, and one whole way through it."""

import numpy as np
import pytest
from PIL import Image
from small_runs import save_run

from dyhead.cli.main import main


def failure(*arguments):
    with pytest.raises(SystemExit) as info:
        main(["export", *map(str, arguments)])
    return str(info.value)


@pytest.fixture
def unread(tmp_path):
    """A checkpoint that must not be looked at."""
    return tmp_path / "absent"


def test_another_ending_is_refused_first(unread):
    assert "out.pb has the ending '.pb': choose .onnx or .pt2" in failure(unread, "out.pb")


def test_an_option_that_would_do_nothing_is_refused(unread):
    assert "--opset is for .onnx files" in failure(unread, "out.pt2", "--opset", 20)


def test_a_size_without_pixels_is_refused(unread):
    assert "--size 0 64 has no pixels" in failure(unread, "out.pt2", "--size", 0, 64)


def test_a_missing_package_is_named_first(unread, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    assert 'pip install "dyhead[export]"' in failure(unread, "out.onnx")


def test_a_missing_checkpoint_is_named(unread):
    assert f"{unread} does not exist" in failure(unread, "out.pt2")


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    run = save_run(tmp_path / "run")
    (tmp_path / "cell.jpg").write_text("no picture")
    message = failure(run, tmp_path / "out.pt2", "--picture", tmp_path / "cell.jpg")
    assert "cell.jpg" in message and "Error" in message
    assert not (tmp_path / "out.pt2").exists()


@pytest.mark.parametrize("opset", [0, 19])
def test_an_older_opset_is_refused(tmp_path, opset):
    pytest.importorskip("onnxscript")
    run = save_run(tmp_path / "run")
    message = failure(run, tmp_path / "out.onnx", "--opset", opset)
    assert f"--opset is {opset}: DeformConv needs 20 or more" in message


@pytest.mark.slow
def test_it_writes_a_file_and_says_how_far_it_is_from_the_detector(tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    run = save_run(tmp_path / "run")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((160, 120)).save(tmp_path / "cell.png")
    output = tmp_path / "new" / "cells.onnx"
    arguments = ["--picture", tmp_path / "cell.png", "--size", 64, 80, "--without-nms"]
    main(["export", *map(str, [run, output, *arguments]), "TEST.DETECTIONS_PER_IMAGE", "50"])
    printed = capsys.readouterr().out
    assert "cells.onnx: largest difference" in printed
    assert "pictures: 1 of 64 x 80, 2 of 48 x 60" in printed
    assert '"max_detections": 50' in onnx.load(str(output)).metadata_props[0].value
