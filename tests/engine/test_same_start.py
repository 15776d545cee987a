"""Processes that would begin with different data, configs, steps or weights are all refused."""

from pathlib import Path

import pytest
import torch
from script_runs import report_of_script

from dyhead.config import load_config
from dyhead.d2 import HOST
from dyhead.engine.same_start import check_same_start

PROGRAM = """
import json, sys
import torch
from torch import nn
from dyhead.config import load_config
from dyhead.d2.engine import launch
from dyhead.d2.utils import comm
from dyhead.engine.same_start import check_same_start
from dyhead.errors import UserError

def told(start_iter, seed, dtype=torch.float32, options=(), num_images=9):
    cfg, _ = load_config("", ["OUTPUT_DIR", "output/run", *options])
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Conv2d(4, 5, 3)).to(dtype)
    model[1].weight.data[0, 0, 0, 0] = float("nan")  # which is not equal to itself
    try:
        check_same_start(cfg, model, start_iter, num_images)
    except UserError as error:
        return str(error)
    return ""

def main(path):
    rank = comm.get_rank()
    found = {
        "alike": told(7, 0),
        "short": told(7, 0, torch.bfloat16),
        "steps": told(7 * (1 - rank), 0),
        "weights": told(7, rank),
        "config": told(7, 0, options=["SOLVER.BASE_LR", str(0.5 + rank)]),
        "data": told(7, 0, options=["SOLVER.MAX_ITER", str(5 + rank)], num_images=9 - rank),
        "machine": told(7, 0, options=["DATALOADER.NUM_WORKERS", str(rank)]),
    }
    gathered = comm.gather(found)
    if comm.is_main_process():
        json.dump(gathered, open(path, "w"))

if __name__ == "__main__":
    launch(main, 2, dist_url="auto", args=(sys.argv[1],))
"""


def test_one_process_has_nothing_to_compare() -> None:
    check_same_start(load_config("", [])[0], torch.nn.Linear(1, 1), 5, None)


@pytest.mark.slow
@pytest.mark.skipif(HOST == "detectron2", reason="it needs GPUs for two processes")
def test_two_processes_compare_what_they_begin_with(tmp_path: Path) -> None:
    first, second = report_of_script(PROGRAM, tmp_path, CUDA_VISIBLE_DEVICES="")
    assert first == second and first["alike"] == first["short"] == first["machine"] == ""
    assert "Process 1 of the run (counted from 0) has 8 training images" in first["data"]
    assert "SOLVER.BASE_LR is 1.5 in process 1 of the run" in first["config"]
    assert (
        "Process 1 of the run (counted from 0) begins after 0 steps and process 0 after 7"
        in first["steps"]
    )
    assert "OUTPUT_DIR output/run" in first["steps"]
    assert "Process 1 of the run (counted from 0) has loaded other weights" in first["weights"]
