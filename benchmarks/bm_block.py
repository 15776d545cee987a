"""Time DyHead blocks against the official formulation on torchvision's operator.

Errors are to the baseline in float64, gradient errors (relative) to it in float32.
`--growth` shows instead what a deformable output costs over image area, levels, blocks and batch.

    python benchmarks/bm_block.py --threads 2
    python benchmarks/bm_block.py --threads 2 --size 256 256
    python benchmarks/bm_block.py --threads 2 --growth
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from block_cases import (
    BlockCase,
    count_outputs,
    exact_outputs,
    level_sizes,
    make_features,
    make_stack,
)
from measure import (
    Call,
    Timing,
    count_launches,
    max_error,
    peaks_in_new_process,
    relative_error,
    saved_bytes,
    state_of,
    time_interleaved,
)
from results import Row, add_common_arguments, keep, megabytes, report, timing_columns
from variants import (
    AUTOCAST_BASELINE,
    BASELINE,
    Variant,
    block_variants,
    model_variants,
)

PASSES = ("forward", "training")

# What grows, what it grows to, and the arguments of that.
GROWTH: list[tuple[str, str, dict[str, Any]]] = [
    *(("area", f"{side} x {side}", {"size": (side, side)}) for side in (256, 512, 768, 1024)),
    *(("levels", f"P{first} to P7", {"levels": (first, 7)}) for first in (3, 2)),
    *(("blocks", str(count), {"blocks": count}) for count in (1, 2, 4, 6)),
    *(("batch", str(count), {"batch": count}) for count in (1, 2)),
]
DIMENSIONS = tuple(dict.fromkeys(grows for grows, _, _ in GROWTH))


def make_cases(args: argparse.Namespace, variants: Sequence[Variant]) -> dict[Variant, BlockCase]:
    """Make a case of every variant on the same weights and features."""
    sizes = level_sizes(args.size, args.levels)
    features = make_features(sizes, args.channels, args.batch, args.device)
    stack = make_stack(args.channels, args.blocks, args.device)
    return {variant: BlockCase(variant, stack, features) for variant in variants}


def make_calls(
    args: argparse.Namespace, variants: Sequence[Variant]
) -> dict[tuple[str, str], Call]:
    """Return the calls to be timed, by pass and variant."""
    cases = make_cases(args, variants)
    return {
        (what, v.name): getattr(case, what) for v, case in cases.items() for what in args.passes
    }


def measure_blocks(args: argparse.Namespace, keep_rows: Callable[[list[Row]], None]) -> list[Row]:
    """Measure one row per pass and variant: all timed in turn, then each one's memory.

    Args:
        args: of the command line.
        keep_rows: takes the rows when all is timed: a profiler and a lack of memory lose none.
    """
    variants = block_variants(args.device, args.compile)
    rows = measure_time(args, variants, keep_rows)
    peaks = peaks_in_new_process(make_calls, args, variants)
    for row in rows:
        row["peak_megabytes"] = megabytes(peaks[row["pass"], row["variant"]])
    return rows


def measure_time(
    args: argparse.Namespace,
    variants: Sequence[Variant],
    keep_rows: Callable[[list[Row]], None],
) -> list[Row]:
    """Fill all columns but the peak of memory."""
    cases = make_cases(args, variants)
    exact = exact_outputs(cases[BASELINE])
    errors = {variant: max_error(case.forward(), exact) for variant, case in cases.items()}
    rows = []
    for what in args.passes:
        rounds = args.rounds if what == "forward" else args.training_rounds
        calls = {variant.name: getattr(case, what) for variant, case in cases.items()}
        timings = time_interleaved(calls, rounds, args.device)
        for variant, case in cases.items():
            row = describe(
                variant,
                what,
                timings[variant.name],
                timings[BASELINE.name],
                timings.get(AUTOCAST_BASELINE.name),
            )
            if what == "forward":
                row["error"] = errors[variant]
            else:
                row["saved_megabytes"] = megabytes(
                    saved_bytes(case.run, state_of(case.module)) // (args.batch * args.blocks)
                )
            rows.append(row)
    if "training" in args.passes:
        add_gradient_errors(cases, rows)
    keep_rows(rows)
    add_launches(cases, rows, args.device)
    return rows


def describe(
    variant: Variant,
    what: str,
    timing: Timing,
    baseline: Timing,
    autocast_baseline: Timing | None = None,
) -> Row:
    """Fill the columns that every row has."""
    return {
        "variant": variant.name,
        "block": variant.block,
        "backend": variant.backend,
        "precision": variant.precision,
        "compiled": variant.compiled,
        "pass": what,
        **timing_columns(timing, baseline, autocast_baseline),
    }


def add_gradient_errors(cases: dict[Variant, BlockCase], rows: list[Row]) -> None:
    """Compare every gradient with the baseline's."""
    expected = cases[BASELINE].training()
    for variant, case in cases.items():
        for row in rows:
            if row["variant"] == variant.name and row["pass"] == "training":
                row["gradient_error"] = relative_error(case.training(), expected)


def add_launches(cases: dict[Variant, BlockCase], rows: list[Row], device: torch.device) -> None:
    """Count kernels on a GPU, once all is timed: where a profiler has run, launches take longer."""
    by_name = {variant.name: case for variant, case in cases.items()}
    for row in rows:
        launches = count_launches(getattr(by_name[row["variant"]], row["pass"]), device)
        if launches is not None:
            row["launches"] = launches


def measure_growth(args: argparse.Namespace) -> list[Row]:
    """Measure one row per step of growth and variant, forward passes only.

    All that is compared is timed in turn, so that a machine whose speed drifts does not look like
    growth.
    """
    variants = model_variants(args.device)
    rows = []
    for dimension in args.grow:
        steps = {value: changes for grows, value, changes in GROWTH if grows == dimension}
        changed = {
            value: argparse.Namespace(**{**vars(args), **changes})
            for value, changes in steps.items()
        }
        calls = {
            (value, variant): case.forward
            for value, step in changed.items()
            for variant, case in make_cases(step, variants).items()
        }
        timings = time_interleaved(calls, args.rounds, args.device)
        for (value, variant), timing in timings.items():
            step = changed[value]
            outputs = count_outputs(level_sizes(step.size, step.levels)) * step.batch * step.blocks
            row = {
                "grows": dimension,
                "value": value,
                **describe(variant, "forward", timing, timings[value, BASELINE]),
                "outputs": outputs,
                "nanoseconds_per_output": 1e9 * timing.median / outputs,
            }
            rows.append(row)
    return rows


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser)
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"))
    parser.add_argument("--levels", type=int, nargs=2, default=(3, 7), metavar=("FIRST", "LAST"))
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--training-rounds", type=int, default=3)
    parser.add_argument("--passes", nargs="+", choices=PASSES, default=PASSES)
    parser.add_argument("--compile", action="store_true", help="time torch.compile of each, too")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--grow", nargs="+", choices=DIMENSIONS, default=DIMENSIONS)
    args = parser.parse_args(arguments)
    args.size = args.size or ((512, 512) if args.growth else (800, 1344))
    return args


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    settings = {
        "channels": args.channels,
        "size": f"{args.size[0]} x {args.size[1]}",
        "levels": f"P{args.levels[0]} to P{args.levels[1]}",
        "blocks": args.blocks,
        "batch": args.batch,
        "rounds": args.rounds,
        "training_rounds": args.training_rounds,
    }
    if args.growth:
        report("growth", settings, measure_growth(args), args)
    else:
        rows = measure_blocks(args, partial(keep, "block", settings, args=args))
        report("block", settings, rows, args)


if __name__ == "__main__":
    main()
