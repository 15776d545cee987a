"""Kill -9 at random moments loses no saved step; the resumed runs end with the same bits."""

import os
import random
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch
from shown_faults import ShownFault
from toy_program import ToyProgram, kill, leftovers, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="programs are forked and killed"),
]
KILLS = 13  # for each of four moments: more than fifty
Await = Callable[[ToyProgram, ForkServerProcess, random.Random], object]


def while_saving(program: ToyProgram, process: ForkServerProcess, chance: random.Random) -> None:
    """Wait until a checkpoint is half written, or a moment after."""
    skipped = chance.randrange(4)  # of the checkpoints of this run
    seen: set[str] = set()

    def is_writing() -> bool:
        names = os.listdir(program.run) if program.run.exists() else []
        seen.update(name for name in names if ".pth." in name)
        return len(seen) > skipped

    wait_until(is_writing, process)
    time.sleep(chance.choice([0, 0, 0.001, 0.003]))


def while_evaluating(
    program: ToyProgram, process: ForkServerProcess, chance: random.Random
) -> None:
    """Wait until an evaluation has begun, and a moment of it."""
    skipped = chance.randrange(2)
    wait_until(lambda: program.said.count("Start inference") > skipped, process)
    time.sleep(chance.uniform(0, 0.1))


def at_the_end(program: ToyProgram, process: ForkServerProcess, chance: random.Random) -> None:
    """Wait until the last step is done: saving, evaluation and pictures follow."""
    wait_until(lambda: "model_0000039.pth" in program.said, process)
    time.sleep(chance.uniform(0, 0.3))


def at_any_time(program: ToyProgram, process: ForkServerProcess, chance: random.Random) -> None:
    """Wait for any part of the time that a run takes."""
    wait_until(lambda: "Starting training" in program.said, process)
    time.sleep(chance.uniform(0, 0.8))


def weights(program: ToyProgram) -> dict[str, torch.Tensor]:
    return torch.load(program.run / "model_final.pth", weights_only=True)["model"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of a run that nobody kills."""
    program = ToyProgram(tmp_path_factory.mktemp("straight"))
    assert program.finish() == 0, program.said
    return weights(program)


@pytest.mark.parametrize(
    "wait",
    [
        pytest.param(wait, marks=pytest.mark.fault(f"kill -9 {name}"), id=name)
        for name, wait in {
            "while saving": while_saving,
            "while evaluating": while_evaluating,
            "at the end of a run": at_the_end,
            "at any time": at_any_time,
        }.items()
    ],
)
def test_a_killed_run_goes_on_from_its_last_checkpoint_to_the_same_weights(
    wait: Await, straight: dict[str, torch.Tensor], tmp_path: Path, fault: ShownFault
) -> None:
    chance, kills = random.Random(wait.__name__), 0
    fault.tried(KILLS)
    while kills < KILLS:
        (folder := tmp_path / str(kills)).mkdir()
        program = ToyProgram(folder)
        process = program.start()
        for _ in range(chance.choice([1, 1, 2, 3])):  # a resumed run is killed as well
            saved = program.steps
            wait(program, process, chance)
            kills += kill(process)
            with fault.nothing_lost():
                assert program.steps >= saved
            steps = program.steps
            process = program.start("--resume")
        with fault.survived():
            assert program.join(process) == 0, program.said
            assert "Traceback" not in program.said
            assert leftovers(program.run) == []
            found = weights(program)
            assert all(torch.equal(found[name], w) for name, w in straight.items())
            assert (program.run / "inference" / "ap.md").is_file()
        with fault.clear():
            where = f"Starting training from iteration {steps}"
            assert where in program.said or "Nothing to resume" in program.said, steps
