"""Count the images per second that the training data loader gives, by number of workers.

    python benchmarks/bm_loader.py --config configs/quickstart.yaml --workers 0 1 2

A loader keeps up where it gives more images per second than a training step takes (bm_model.py).
Workers get cores of their own only where training leaves some.
"""

import argparse
import itertools
import time
from pathlib import Path

import torch
from measure import Timing
from results import Row, add_common_arguments, report

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.data import register_datasets
from dyhead.engine import Trainer

QUICKSTART = Path(__file__).parents[1] / "configs" / "quickstart.yaml"


def measure(cfg: CfgNode, workers: int, batches: int, rounds: int) -> Row:
    """Measure seconds per batch in `rounds` rounds of `batches` batches, after a warm-up."""
    cfg = cfg.clone()
    cfg.DATALOADER.NUM_WORKERS = workers
    loader = iter(Trainer.build_train_loader(cfg))
    seconds, images = [], 0
    for _ in range(rounds + 1):
        start = time.perf_counter()
        images = sum(len(batch) for batch in itertools.islice(loader, batches))
        seconds.append((time.perf_counter() - start) / batches)
    timing = Timing.of(seconds[1:])
    return {
        "workers": str(workers),
        "milliseconds": 1000 * timing.median,
        "quartiles": [1000 * timing.low, 1000 * timing.high],
        "images_per_second": images / batches / timing.median,
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser)
    parser.add_argument("--config", type=Path, default=QUICKSTART)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batches", type=int, default=20, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("opts", nargs="*", default=[], metavar="KEY VALUE", help="config overrides")
    return parser.parse_intermixed_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    cfg, _ = load_config(str(args.config), args.opts)
    register_datasets(cfg)
    rows = [measure(cfg, workers, args.batches, args.rounds) for workers in args.workers]
    settings = {"config": args.config.name, "batch": cfg.SOLVER.IMS_PER_BATCH}
    report("loader", settings, rows, args)


if __name__ == "__main__":
    main()
