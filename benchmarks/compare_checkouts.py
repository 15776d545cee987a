"""Time the operator, the blocks or a detector of two checkouts against each other, in turns.

A process of each checkout makes the calls of its own benchmark; then every call runs alternately in
the one and in the other, so that a machine whose speed drifts slows both alike. The first checkout
may be older: what both have is compared. The baseline, which is nobody's change, shows how far the
figures can be trusted.

    git worktree add ../before HEAD~1
    python benchmarks/compare_checkouts.py ../before . --benchmark bm_deform_conv
    python benchmarks/compare_checkouts.py ../before . --benchmark bm_block -- --size 256 256
    python benchmarks/compare_checkouts.py ../before . --benchmark bm_model --only fused -- \\
      --config configs/own_dataset.yaml --size 384 512 --tasks training
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

BENCHMARKS = ("bm_block", "bm_deform_conv", "bm_model")
OLD_NAMES = {", bags": ", pytorch"}  # of variants, in older checkouts

# What the process of a checkout runs: lists its calls, then times those that it is asked for.
WORKER = """
import math, sys, time
tree, benchmark, *arguments = sys.argv[1:]
sys.path[:0] = [tree + "/benchmarks", tree]
sys.argv = [benchmark]
answers, sys.stdout = sys.stdout, sys.stderr  # where benchmarks print what is missing
import torch
module = __import__(benchmark)
args = module.parse(arguments)
torch.set_num_threads(args.threads)
if benchmark == "bm_model":
    variants, size = module.model_variants(args.device), tuple(args.size) if args.size else None
    workloads = [module.Workload(args.config, task, size, args.batch) for task in args.tasks]
    made = {
        (workload.task, name): call
        for workload in workloads
        for name, call in module.make_calls(args, workload, variants).items()
    }
else:
    variants = [module.block_variants(args.device, False)] if benchmark == "bm_block" else []
    made = module.make_calls(args, *variants)
calls = {" | ".join(key): call for key, call in made.items()}
repeats = {}
for name, call in calls.items():
    for _ in range(2):  # the first builds and chooses
        start = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
    repeats[name] = max(1, math.ceil(0.05 / seconds))
print(*calls, sep="\\t", file=answers, flush=True)
for line in sys.stdin:
    call, count = calls[line.strip()], repeats[line.strip()]
    start = time.perf_counter()
    for _ in range(count):
        call()
    print((time.perf_counter() - start) / count, file=answers, flush=True)
"""


class Worker:
    """A process that times the calls of a checkout on demand."""

    def __init__(self, checkout: Path, benchmark: str, arguments: Sequence[str]) -> None:
        """Start it, and wait until every call has run twice."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(checkout), benchmark, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
        )
        names = self._read(checkout).split("\t")
        self.calls = {_current_name(name): name for name in names}  # by today's name
        self.checkout = checkout

    def time(self, name: str) -> float:
        """Run a call: seconds, the mean over as many runs as take a twentieth of one at least."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.calls[name]}\n")
        self.process.stdin.flush()
        return float(self._read(self.checkout))

    def _read(self, checkout: Path) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            raise SystemExit(f"The benchmark of {checkout} ended: run it there to see why.")
        return line

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def _current_name(name: str) -> str:
    for old, new in OLD_NAMES.items():
        name = name.replace(old, new)
    return name


def compare(before: Worker, after: Worker, rounds: int, only: str = "") -> None:
    """Print for the calls that both have the medians, and the median ratio of the pairs."""
    print(f"{'call':52} {'before ms':>10} {'after ms':>10} {'after / before':>14}  quartiles")
    for name in before.calls:
        if name not in after.calls or only not in name:
            continue
        pairs = []
        for index in range(rounds):
            # Who comes first alternates: the second finds the caches as the first left them.
            order = (before, after) if index % 2 == 0 else (after, before)
            seconds = {worker: worker.time(name) for worker in order}
            pairs.append((seconds[before], seconds[after]))
        old, new = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
        low, ratio, high = statistics.quantiles(new / old for old, new in pairs)
        print(
            f"{name:52} {old:10.2f} {new:10.2f} {ratio:14.3f}  {low:.3f} to {high:.3f}", flush=True
        )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, help="a checkout")
    parser.add_argument("after", type=Path, help="another one")
    parser.add_argument("--benchmark", choices=BENCHMARKS, default="bm_block")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", metavar="TEXT", help="calls whose name has this")
    parser.add_argument("arguments", nargs="*", help="of the benchmark, after --")
    return parser.parse_intermixed_args(arguments)  # the last ones come after options


def main() -> None:
    """Compare the checkouts named on the command line."""
    args = parse()
    before = Worker(args.before.resolve(), args.benchmark, args.arguments)
    after = Worker(args.after.resolve(), args.benchmark, args.arguments)
    compare(before, after, args.rounds, args.only)
    before.close()
    after.close()


if __name__ == "__main__":
    main()
