"""Two thousand steps with kills, stops and resumes at random are two thousand steps straight."""

import itertools
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

import pytest
import torch
from shown_faults import ShownFault
from toy_program import ToyProgram, kill, leftovers, resident_bytes, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it"),
]
STEPS = 2000
CHANGES = ["SOLVER.MAX_ITER", str(STEPS), "SOLVER.CHECKPOINT_PERIOD", "50"]
CHANGES += ["TEST.EVAL_PERIOD", "250", "DATALOADER.NUM_WORKERS", "1"]
STOPS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 143}
MAX_GROWTH = 24  # MiB: a heap may grow once, but what leaks grows in every quarter


def state(program: ToyProgram) -> dict[str, torch.Tensor]:
    """Weights and momenta at the end."""
    content = torch.load(program.run / "model_final.pth", weights_only=True)
    optimizer = content["trainer"]["_trainer"]["optimizer"]["state"]
    momenta = {f"momentum {i}": part["momentum_buffer"] for i, part in optimizer.items()}
    return {**content["model"], **momenta}


def split(values: list[int], number: int) -> list[list[int]]:
    """Divide into parts of the same length."""
    size = len(values) // number
    return [values[i * size : (i + 1) * size] for i in range(number)]


def run_straight(program: ToyProgram) -> list[int]:
    """Run to the end; return its memory, asked for at even times after the first evaluation."""
    process = program.start()
    wait_until(lambda: "Start inference" in program.said, process, 300)
    memory = []
    while process.is_alive():
        try:
            memory.append(resident_bytes(process.pid))
        except (OSError, ValueError):
            break
        process.join(0.05)
    assert program.join(process) == 0, program.said
    return memory


def interrupt(program: ToyProgram, chance: random.Random, *arguments: str) -> None:
    """Start, and kill or stop at random, after 0 to 3 checkpoints and a moment more."""
    process = program.start(*arguments)
    number = chance.randrange(4)
    enough = wait_until(lambda: program.said.count("Starting training") > 0, process, 120)
    enough &= wait_until(lambda: program.said.count("Checkpoint saved") >= number, process, 120)
    assert enough or not process.is_alive(), program.said
    time.sleep(chance.uniform(0, 0.4))
    if chance.random() < 0.5:
        kill(process)
        return
    stop = chance.choice(list(STOPS))
    with suppress(ProcessLookupError):
        os.kill(process.pid or 0, stop)
    assert program.join(process) in (STOPS[stop], 0), program.said
    assert "Traceback" not in program.said


@pytest.mark.fault("2,000 steps with kills, stops and resumes at random")
def test_two_thousand_interrupted_steps_end_as_straight_ones(
    tmp_path: Path, fault: ShownFault
) -> None:
    programs = []
    for name in ("straight", "interrupted"):
        (tmp_path / name).mkdir()
        programs.append(ToyProgram(tmp_path / name, *CHANGES))
    straight, interrupted = programs
    memory = run_straight(straight)
    chance, done, interruptions = random.Random(18), 0, 0
    while done < STEPS:
        interrupt(interrupted, chance, *(["--resume"] if interruptions else []))
        interruptions += 1
        with fault.nothing_lost():
            assert interrupted.steps >= done
        done = interrupted.steps
    assert interruptions >= 10
    fault.tried(interruptions)
    with fault.survived():
        assert interrupted.finish("--resume") == 0, interrupted.said
        assert leftovers(interrupted.run) == []
        expected, found = state(straight), state(interrupted)
        assert expected.keys() == found.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
        parts = [median(part) / 2**20 for part in split(memory, 4)]
        print(f"{interruptions} interruptions; MiB by quarters of the straight run: {parts}")
        growths = [later - earlier for earlier, later in itertools.pairwise(parts)]
        assert min(growths) < 1 and sum(growths) < MAX_GROWTH
    with fault.clear():
        log = (interrupted.run / "log.txt").read_text()
        assert log.count("Starting training from iteration") >= interruptions
        assert "--resume goes on" in log and "Traceback" not in log
