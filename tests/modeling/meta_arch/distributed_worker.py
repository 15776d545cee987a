"""One of the two processes of test_atss_distributed: one of them holds no object at all.

usage: distributed_worker.py RANK OUTPUT_FILE
"""

import os
import runpy
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

WORLD_SIZE = 2


def main(rank, output_file):
    store = f"file://{output_file}.rendezvous"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=WORLD_SIZE)
    results = train_steps(rank)
    if rank == 0:
        torch.save(results, output_file)
    dist.barrier()


def train_steps(rank):
    doubles = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
    detector = doubles["build_detector"]()
    model = DistributedDataParallel(detector)
    batch = doubles["build_batch"]()
    # Rank 0 has an image with objects and one without, rank 1 has no object; then the reverse.
    shares = [batch[:2], [doubles["build_input"](9, (64, 96))] * 2]
    results = []
    for share in (shares[rank], shares[1 - rank]):
        losses = model(share)
        model.zero_grad()
        sum(losses.values()).backward()
        values = torch.stack([losses[name].detach() for name in sorted(losses)])
        dist.all_reduce(values)
        gradients = {name: p.grad.clone() for name, p in detector.named_parameters()}
        results.append({"losses": values / WORLD_SIZE, "gradients": gradients})
    return results


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
    # Taking gloo down now and then hangs or aborts on some releases of PyTorch.
    os._exit(0)
