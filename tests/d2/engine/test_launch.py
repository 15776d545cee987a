"""Several CPU processes train as one does, on either host."""

import json
import os
import subprocess
import sys

import pytest
import torch

from dyhead.d2 import HOST

SCRIPT = """
import json, sys
import numpy as np, torch
from torch import nn
from dyhead.d2.engine import SimpleTrainer, launch
from dyhead.d2.engine import create_ddp_model
from dyhead.d2.utils import comm

class Regression(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return {"loss": (self.layer(x) - 2 * x).square().mean(), "zero": 0 * self.layer.bias.sum()}

def batches():
    generator = torch.Generator().manual_seed(1)
    while True:
        x = torch.randn(8, 4, generator=generator)
        yield x.chunk(comm.get_world_size())[comm.get_rank()]

def main(path, fail_on_rank):
    if comm.get_rank() == fail_on_rank:
        raise KeyError("broken on purpose")
    model = create_ddp_model(Regression(), **json.loads(sys.argv[4]))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trainer = SimpleTrainer(model, batches(), optimizer)
    trainer.train(0, 5)
    ranks = {"rank": comm.get_rank(), "local": comm.get_local_rank()}
    report = {**ranks, "world": comm.get_world_size()}
    gathered = comm.gather(report)
    if comm.is_main_process():
        losses = [loss for loss, _ in trainer.storage.history("total_loss").values()]
        json.dump({"losses": losses, "processes": gathered}, open(path, "w"))

if __name__ == "__main__":
    fail_on_rank = int(sys.argv[3])
    launch(main, int(sys.argv[2]), dist_url="auto", args=(sys.argv[1], fail_on_rank))
"""


def run(tmp_path, num_processes: int, fail_on_rank: int = -1) -> subprocess.CompletedProcess:
    script = tmp_path / "program.py"
    script.write_text(SCRIPT)
    # Genuine Detectron2 always names a device unless told otherwise; the CPU has none.
    ddp = json.dumps({"device_ids": None} if HOST == "detectron2" else {})
    arguments = [
        str(tmp_path / f"{num_processes}.json"),
        str(num_processes),
        str(fail_on_rank),
        ddp,
    ]
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p) or "."},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="with GPUs the processes take one each")
def test_two_processes_give_the_losses_of_one(tmp_path):
    reports = {}
    for count in (1, 2):
        finished = run(tmp_path, count)
        assert finished.returncode == 0, finished.stderr
        reports[count] = json.loads((tmp_path / f"{count}.json").read_text())
    assert reports[2]["losses"] == pytest.approx(reports[1]["losses"], abs=1e-6)
    expected = [{"rank": rank, "local": rank, "world": 2} for rank in (0, 1)]
    assert reports[2]["processes"] == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="with GPUs the processes take one each")
def test_an_error_in_one_process_ends_them_all(tmp_path):
    finished = run(tmp_path, 2, fail_on_rank=1)
    assert finished.returncode != 0
    assert "broken on purpose" in finished.stderr
