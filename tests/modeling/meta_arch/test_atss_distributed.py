"""Two processes give the losses and gradients of one process that holds the whole batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("distributed_worker.py")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_equal_one(tmp_path, make_detector, make_input, batch):
    output = tmp_path / "results.pth"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    workers = [
        subprocess.Popen([sys.executable, WORKER, str(rank), output], env=environment)
        for rank in range(2)
    ]
    try:
        assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()

    detector = make_detector()
    losses = detector([*batch[:2], *[make_input(9, (64, 96))] * 2])
    sum(losses.values()).backward()
    expected = torch.stack([losses[name].detach() for name in sorted(losses)])
    for result in torch.load(output, weights_only=True):
        torch.testing.assert_close(result["losses"], expected, rtol=1e-5, atol=1e-6)
        for name, parameter in detector.named_parameters():
            torch.testing.assert_close(
                result["gradients"][name], parameter.grad, rtol=1e-4, atol=1e-6
            )
