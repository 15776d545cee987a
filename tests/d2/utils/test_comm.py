import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from dyhead.d2.utils import comm

ROOT = Path(__file__).parents[3]


def test_without_processes_the_world_is_one():
    assert (comm.get_world_size(), comm.get_rank(), comm.get_local_rank()) == (1, 0, 0)
    assert comm.is_main_process()
    comm.synchronize()
    assert comm.all_gather("x") == ["x"]
    assert comm.gather("x") == ["x"]
    scalars = {"a": torch.tensor(2.0)}
    assert comm.reduce_dict(scalars) == scalars


def test_shared_seed_follows_numpys_generator():
    np.random.seed(3)
    first = comm.shared_random_seed()
    np.random.seed(3)
    assert comm.shared_random_seed() == first
    assert 0 <= first < 2**31


def collect(rank, folder):
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    comm.create_local_process_group(2)
    np.random.seed(rank)
    scalars = {"b": torch.tensor(float(rank)), "a": torch.tensor(10.0 * rank)}
    found = {
        "ranks": (comm.get_rank(), comm.get_local_rank(), comm.get_world_size()),
        "main": comm.is_main_process(),
        "all": comm.all_gather({"rank": rank}),
        "at 1": comm.gather("x" * rank, dst=1),
        "seed": comm.shared_random_seed(),
        "mean": {k: float(v) for k, v in comm.reduce_dict(scalars).items()},
        "sum": {k: float(v) for k, v in comm.reduce_dict(scalars, average=False).items()},
    }
    comm.synchronize()
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes(tmp_path):
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(tmp_path)],
            env={**os.environ, "PYTHONPATH": paths},
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert (first["ranks"], second["ranks"]) == ((0, 0, 2), (1, 1, 2))
    assert (first["main"], second["main"]) == (True, False)
    assert first["all"] == second["all"] == [{"rank": 0}, {"rank": 1}]
    assert (first["at 1"], second["at 1"]) == ([], ["", "x"])
    assert first["seed"] == second["seed"]
    assert first["mean"] == {"a": 5.0, "b": 0.5}
    assert first["sum"] == {"a": 10.0, "b": 1.0}


if __name__ == "__main__":  # one of the two processes
    collect(int(sys.argv[1]), sys.argv[2])
