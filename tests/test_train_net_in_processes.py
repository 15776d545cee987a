"""`train_net.py` in several processes, as one."""

import json
import re
from pathlib import Path

import pytest
import torch
from small_program import call, command_line, log_of

from dyhead.d2 import HOST


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """The command line of a two-step training into tmp_path/run."""
    return command_line(tmp_path)


def outcome(output_dir: Path) -> tuple[dict[str, float], torch.Tensor]:
    """The losses of the last record (medians over 20 steps) and all final weights in one vector."""
    lines = (output_dir / "metrics.json").read_text().splitlines()
    record = next(json.loads(line) for line in reversed(lines) if "total_loss" in line)
    model = torch.load(output_dir / "model_final.pth", weights_only=True)["model"]
    weights = torch.cat([weight.flatten().float() for weight in model.values()])
    return {name: value for name, value in record.items() if "loss" in name}, weights


on_embedded_host = pytest.mark.skipif(
    HOST == "detectron2", reason="genuine Detectron2 trains several processes on GPUs only"
)


@on_embedded_host
@pytest.mark.slow
def test_processes_train_as_one(arguments: list[str], tmp_path: Path) -> None:
    # Rounding must not grow to what is looked for. AdamW's first steps follow the gradients' signs
    # alone, and SGD at a rate of 0.01 turns a change of 1e-7 in the weights into one of 4e-3 in the
    # losses. At 0.001 that stays below 1e-6, and summing gradients instead of averaging gives 6e-2.
    arguments = [*arguments, "SOLVER.MAX_ITER", "20", "SOLVER.OPTIMIZER", "SGD"]
    ways: dict[str, tuple[list[str], list[str]]] = {
        "one": ([], []),
        "two": (["--num-gpus", "2"], []),
        "torchrun": ([], ["-m", "torch.distributed.run", "--nproc_per_node", "2"]),
    }
    outcomes = {}
    for name, (options, before) in ways.items():
        arguments[arguments.index("OUTPUT_DIR") + 1] = str(tmp_path / name)
        done = call([*options, *arguments, "SOLVER.BASE_LR", "0.001"], *before)
        assert done.returncode == 0, done.stdout + done.stderr
        size = 1 if name == "one" else 2
        assert f"Process 0 of {size}" in log_of(tmp_path / name)
        outcomes[name] = outcome(tmp_path / name)
    one_losses, one_weights = outcomes["one"]
    for name in ("two", "torchrun"):
        losses, weights = outcomes[name]
        assert losses == pytest.approx(one_losses, abs=1e-4)
        torch.testing.assert_close(weights, one_weights, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_user_error_in_several_processes_gets_one_sentence(arguments: list[str]) -> None:
    done = call(["--num-gpus", "2", *arguments, "MODEL.ATSS.NUM_CLASSES", "3"])
    assert done.returncode == 1
    assert done.stderr.count("Error: MODEL.ATSS.NUM_CLASSES") == 1
    assert "Traceback" not in done.stderr


@on_embedded_host
@pytest.mark.slow
def test_nan_stops_several_processes_with_all_images_named(
    arguments: list[str], tmp_path: Path
) -> None:
    done = call(["--num-gpus", "2", *arguments, "SOLVER.BASE_LR", "1e30", "SOLVER.MAX_ITER", "9"])
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert re.match(r"Error: Step \d+: a loss or gradient is not finite", last)
    assert last.count(".png") == 2
