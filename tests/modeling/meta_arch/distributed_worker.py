"""One of the processes of `distributed_processes`: losses and gradients of its share of a batch.

In a step one of two processes holds no object at all. A single process takes the whole batch.
"""

import argparse
import os
import runpy
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from dyhead.engine.precision import set_float32_precision


def main(args):
    set_float32_precision("highest")
    device = torch.device(args.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store = f"file://{args.output}.rendezvous"
    if args.world_size > 1:
        dist.init_process_group(
            args.backend, init_method=store, rank=args.rank, world_size=args.world_size
        )
    results = train_steps(args.rank, args.world_size, device, args.num_blocks)
    if args.rank == 0:
        torch.save(results, args.output)
    if args.world_size > 1:
        dist.barrier()


def train_steps(rank, world_size, device, num_blocks):
    doubles = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
    detector = doubles["build_detector"](num_blocks=num_blocks).to(device)
    model = detector if world_size == 1 else distribute(detector, device)
    batch = doubles["build_batch"]()
    # Rank 0 has an image with objects and one without, rank 1 has no object; then the reverse.
    shares = [batch[:2], [doubles["build_input"](9, (64, 96))] * 2]
    if world_size == 1:
        shares = [shares[0] + shares[1]]
    results = []
    for step in range(2):
        losses = model(shares[(rank + step) % world_size])
        model.zero_grad()
        sum(losses.values()).backward()
        values = torch.stack([losses[name].detach() for name in sorted(losses)])
        if world_size > 1:
            dist.all_reduce(values)
        gradients = {name: p.grad.cpu().clone() for name, p in detector.named_parameters()}
        results.append({"losses": values.cpu() / world_size, "gradients": gradients})
    return results


def distribute(detector, device):
    return DistributedDataParallel(detector, [device] if device.type == "cuda" else None)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--world-size", type=int, required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backend", default="gloo")
    parser.add_argument("--num-blocks", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main(parse_arguments())
    # Taking gloo down now and then hangs or aborts on some releases of PyTorch.
    os._exit(0)
