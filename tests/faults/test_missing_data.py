"""Data that vanishes while a run reads it ends it in a sentence, or is left out with a warning."""

import shutil
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from shown_faults import ShownFault
from toy_program import ToyProgram, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="programs are forked"),
]
LONG = ["SOLVER.MAX_ITER", "100000", "TEST.EVAL_PERIOD", "0"]


@pytest.fixture
def program(tmp_path: Path) -> ToyProgram:
    return ToyProgram(tmp_path)


def begin(program: ToyProgram) -> ForkServerProcess:
    """Start a long run, and wait for its first checkpoint."""
    process = program.start(*LONG)
    assert wait_until(lambda: program.latest is not None, process)
    return process


@pytest.mark.fault("all images vanish in the middle of a run")
def test_images_that_are_all_gone_end_the_run(
    program: ToyProgram, tmp_path: Path, fault: ShownFault
) -> None:
    process = begin(program)
    shutil.move(tmp_path / "images", tmp_path / "moved")
    with fault.clear():
        assert program.join(process) == 1
        assert "None of the 6 images of the data set can be used" in program.last_line
        assert "Traceback" not in program.said
    with fault.nothing_lost():
        steps = program.steps
        assert steps > 0
    shutil.move(tmp_path / "moved", tmp_path / "images")
    with fault.survived():
        assert program.finish("--resume", "SOLVER.MAX_ITER", str(steps + 2)) == 0, program.said


@pytest.mark.fault("one image vanishes in the middle of a run")
def test_an_image_that_is_gone_is_left_out_with_a_warning(
    program: ToyProgram, tmp_path: Path, fault: ShownFault
) -> None:
    process = begin(program)
    (tmp_path / "images" / "2.png").unlink()
    with fault.clear():
        assert wait_until(lambda: "2.png" in program.said, process)
    with fault.survived():
        steps = program.steps
        assert wait_until(lambda: program.steps > steps + 20, process)
    process.terminate()
    with fault.nothing_lost():
        assert program.join(process) == 143
        assert program.steps > steps


@pytest.mark.fault("an annotation file that was cut off, at --resume")
def test_annotations_that_were_cut_off_are_refused(
    program: ToyProgram, tmp_path: Path, fault: ShownFault
) -> None:
    assert program.finish() == 0, program.said
    path = tmp_path / "tiny.json"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    with fault.clear():
        assert program.finish("--resume", "SOLVER.MAX_ITER", "44") == 1
        assert program.last_line.startswith("Error: ") and "tiny.json" in program.last_line
        assert "Traceback" not in program.said
    with fault.nothing_lost():
        assert program.steps == 40
    path.write_text(whole)
    with fault.survived():
        assert program.finish("--resume", "SOLVER.MAX_ITER", "44") == 0, program.said
