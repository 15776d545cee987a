"""The options of a training act in all of its processes together."""

import json
import math
from pathlib import Path

import pytest
import torch
from small_program import call, command_line, log_of

from dyhead.checkpoint.model_card import read_card
from dyhead.d2 import HOST

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(HOST == "detectron2", reason="it needs GPUs for two processes"),
]


def test_two_processes_stop_early_together_with_the_average_saved(tmp_path: Path) -> None:
    line = [*command_line(tmp_path), "--num-gpus", "2", "SOLVER.MAX_ITER", "9"]
    line += ["TEST.EVAL_PERIOD", "2", "SOLVER.BEST.METRIC", "bbox/AP", "SOLVER.BEST.PATIENCE", "2"]
    line += ["SOLVER.EMA.ENABLED", "True", "SOLVER.CHECKPOINTS_KEPT", "1"]
    # an improvement that no AP can have: the first evaluation is the best for good
    line += ["SOLVER.BEST.MIN_DELTA", "200.0"]
    done = call(line)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Stopped early after 6 steps" in log_of(tmp_path / "run")
    names = sorted(path.name for path in (tmp_path / "run").glob("model_*.pth"))
    assert names == ["model_0000005.pth", "model_best.pth", "model_final.pth"]
    card = read_card(tmp_path / "run" / "model_final.pth")
    assert card is not None and card.iteration == 6 and math.isfinite(card.scores["bbox/AP"])
    state = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)
    assert state["trainer"]["average"]["updates"] == 6


def test_parts_of_a_step_move_the_weights_as_whole_steps_do(tmp_path: Path) -> None:
    line = [*command_line(tmp_path), "--num-gpus", "2", "SOLVER.IMS_PER_BATCH", "4"]
    # AdamW would make whole steps of what rounding leaves where a gradient is nearly zero
    line += ["SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", "0.1", "SOLVER.WEIGHT_DECAY", "0.0"]
    place = line.index("OUTPUT_DIR") + 1
    moves = []
    for parts in ("1", "2"):
        line[place] = str(tmp_path / parts)
        done = call([*line, "SOLVER.ACCUMULATION_STEPS", parts])
        assert done.returncode == 0, done.stdout + done.stderr
        first, last = (
            torch.load(tmp_path / parts / name, weights_only=True)["model"]
            for name in ("model_0000000.pth", "model_final.pth")
        )
        moves.append({name: last[name].double() - first[name].double() for name in last})
    assert sum(move.norm() > 1e-3 for move in moves[0].values()) > 20
    for name, move in moves[0].items():
        assert (moves[1][name] - move).norm() <= 1e-3 * move.norm() + 1e-6, name


def test_two_processes_end_together_when_the_time_is_over(tmp_path: Path) -> None:
    line = [*command_line(tmp_path), "--num-gpus", "2", "SOLVER.MINUTES", "0.1"]
    line += ["SOLVER.MAX_ITER", "100", "TEST.EVAL_PERIOD", "50", "SOLVER.CHECKPOINT_PERIOD", "100"]
    done = call(line)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "run"
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    evaluated = [line["iteration"] for line in lines if "bbox/AP" in line]
    state = torch.load(folder / "model_final.pth", weights_only=True)["trainer"]
    time = state["hooks"]["TimeBudgetHook"]
    assert time["share"] == 1 and time["trained"] + time["paused"] < 1.2 * 6
    assert len(evaluated) == 2 and evaluated[1] == state["iteration"] + 1
