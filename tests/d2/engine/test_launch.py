"""Several CPU processes train as one does, on either host."""

import json
import subprocess

import pytest
import torch
from script_runs import run_script

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
    model = create_ddp_model(Regression(), **json.loads(sys.argv[3]))
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
    folder, fail_on_rank = sys.argv[1], int(sys.argv[2])
    main(folder + "/1.json", fail_on_rank)
    launch(main, 2, dist_url="auto", args=(folder + "/2.json", fail_on_rank))
"""

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="with GPUs the processes take one each"
)


def run(tmp_path, fail_on_rank: int = -1) -> subprocess.CompletedProcess:
    """Train in one process and then in two, which may fail."""
    # Genuine Detectron2 always names a device unless told otherwise; the CPU has none.
    ddp = json.dumps({"device_ids": None} if HOST == "detectron2" else {})
    return run_script(SCRIPT, tmp_path, str(tmp_path), str(fail_on_rank), ddp)


def test_two_processes_give_the_losses_of_one(tmp_path):
    finished = run(tmp_path)
    assert finished.returncode == 0, finished.stderr
    one, two = (json.loads((tmp_path / f"{count}.json").read_text()) for count in (1, 2))
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-6)
    assert two["processes"] == [{"rank": r, "local": r, "world": 2} for r in (0, 1)]


@pytest.mark.slow
def test_an_error_in_one_process_ends_them_all(tmp_path):
    finished = run(tmp_path, fail_on_rank=1)
    assert finished.returncode != 0
    assert "broken on purpose" in finished.stderr
