"""Time the back ends of `modulated_deform_conv2d` against torchvision's operator.

Offsets have a standard deviation of 2 pixels, as in a trained DyHead. Errors are to torchvision's
operator in float64.

    python benchmarks/bm_deform_conv.py --threads 2
    python benchmarks/bm_deform_conv.py --channels 64 --height 30 --width 40 --stride 2
"""

import argparse

import torch
from baseline import torchvision_operator
from measure import (
    Call,
    max_error,
    peaks_in_new_process,
    relative_error,
    saved_bytes,
    time_interleaved,
)
from results import Row, add_common_arguments, megabytes, report, timing_columns
from torch import Tensor
from variants import Variant, precisions, serving_backends

from dyhead.ops import modulated_deform_conv2d

BASELINE = Variant("operator", "torchvision")
PASSES = ("forward", "training")


def make_inputs(args: argparse.Namespace) -> list[Tensor]:
    """Draw input, offset, mask, weight and bias of a 3x3 convolution that keeps the channels."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    height, width = ((length - 1) // args.stride + 1 for length in (args.height, args.width))
    tensors = [
        normal(args.batch, args.channels, args.height, args.width),
        2 * normal(args.batch, 18, height, width),
        normal(args.batch, 9, height, width).sigmoid(),
        normal(args.channels, args.channels, 3, 3) / (9 * args.channels) ** 0.5,
        normal(args.channels),
    ]
    return [tensor.to(args.device).requires_grad_() for tensor in tensors]


class Case:
    """The convolution on one back end, at one precision, in its favourite memory format."""

    def __init__(self, variant: Variant, inputs: list[Tensor], stride: int) -> None:
        """Copy the input; nothing runs yet."""
        is_torchvision = variant.backend == "torchvision"
        layout = torch.contiguous_format if is_torchvision else torch.channels_last
        first = inputs[0].detach().contiguous(memory_format=layout).requires_grad_()
        self.leaves = [first, *inputs[1:]]
        self.variant, self.stride = variant, stride

    def run(self) -> Tensor:
        """Run a forward pass, recorded for backward or not as the caller decides."""
        x, offset, mask, weight, bias = self.leaves
        with self.variant.active(x.device):
            return modulated_deform_conv2d(
                x, offset, mask, weight, bias, self.stride, 1, backend=self.variant.backend
            )

    def forward(self) -> Tensor:
        """Run a forward pass of inference."""
        with torch.no_grad():
            return self.run()

    def training(self) -> tuple[Tensor, ...]:
        """Compute the gradients by a forward and a backward pass."""
        output = self.run()
        with self.variant.active(output.device):
            return torch.autograd.grad(output, self.leaves, torch.ones_like(output))


def make_cases(args: argparse.Namespace) -> dict[Variant, Case]:
    """Make a case of every back end and precision, the baseline first."""
    inputs = make_inputs(args)
    backends = serving_backends(args.device)
    variants = [Variant("operator", b, p) for b in backends for p in precisions(b, args.device)]
    variants.sort(key=lambda variant: variant != BASELINE)
    return {variant: Case(variant, inputs, args.stride) for variant in variants}


def make_calls(args: argparse.Namespace) -> dict[tuple[str, str], Call]:
    """Return the calls to be timed, by pass and variant."""
    cases = make_cases(args)
    return {(what, v.name): getattr(case, what) for v, case in cases.items() for what in PASSES}


def measure(args: argparse.Namespace) -> list[Row]:
    """Measure one row per pass, back end and precision."""
    cases = make_cases(args)
    with torch.no_grad():
        x, offset, mask, weight, bias = (leaf.double() for leaf in cases[BASELINE].leaves)
        exact = torchvision_operator(x, offset, mask, weight, bias, args.stride)
    gradients = cases[BASELINE].training()

    rows = []
    for what in PASSES:
        calls = {variant.name: getattr(case, what) for variant, case in cases.items()}
        timings = time_interleaved(calls, args.rounds, args.device)
        for variant, case in cases.items():
            row = {
                "variant": variant.name,
                "backend": variant.backend,
                "precision": variant.precision,
                "pass": what,
                **timing_columns(timings[variant.name], timings[BASELINE.name]),
            }
            if what == "forward":
                row["error"] = max_error([case.forward()], [exact])
            else:
                row["gradient_error"] = relative_error(case.training(), gradients)
                row["saved_megabytes"] = megabytes(saved_bytes(case.run, case.leaves[3:]))
            rows.append(row)
    peaks = peaks_in_new_process(make_calls, args)
    for row in rows:
        row["peak_megabytes"] = megabytes(peaks[row["pass"], row["variant"]])
    return rows


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--height", type=int, default=100)
    parser.add_argument("--width", type=int, default=168)
    parser.add_argument("--stride", type=int, default=1)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    settings = {
        "batch": args.batch,
        "channels": args.channels,
        "size": f"{args.height} x {args.width}",
        "stride": args.stride,
        "rounds": args.rounds,
    }
    report("deform_conv", settings, measure(args), args)


if __name__ == "__main__":
    main()
