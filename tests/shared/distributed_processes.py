"""Two processes that share a batch, and one that has all of it."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from script_runs import environment

WORKER = Path(__file__).parents[1] / "modeling" / "meta_arch" / "distributed_worker.py"
WORLD_SIZE = 2


def results_of_two_and_one(
    folder: Path,
    *,
    devices: Sequence[str] = ("cpu", "cpu"),
    backend: str = "gloo",
    num_blocks: int = 0,
    variables: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run all three at once, each in a process of its own.

    Args:
        folder: for what they leave.
        devices: of rank 0, which is that of the single process too, and of rank 1.
        backend: by which the two talk.
        num_blocks: DyHead blocks of the detector.
        variables: environment variables besides this process's.
        timeout: seconds.

    Returns:
        For two processes and for one: of each step `losses`, in the order of their names, and
        `gradients` by name.
    """
    outputs = [folder / "two.pth", folder / "one.pth"]
    ranks = [(0, WORLD_SIZE, outputs[0]), (1, WORLD_SIZE, outputs[0]), (0, 1, outputs[1])]
    commands = [
        [
            *(sys.executable, str(WORKER), "--rank", str(rank), "--world-size", str(world_size)),
            *("--output", str(output), "--device", devices[rank], "--backend", backend),
            *("--num-blocks", str(num_blocks)),
        ]
        for rank, world_size, output in ranks
    ]
    started_with = environment(**(variables or {}))
    workers = [subprocess.Popen(command, env=started_with) for command in commands]
    try:
        assert [worker.wait(timeout=timeout) for worker in workers] == [0, 0, 0]
    finally:
        for worker in workers:
            worker.kill()
    two, one = (torch.load(output, weights_only=True) for output in outputs)
    return two, one
