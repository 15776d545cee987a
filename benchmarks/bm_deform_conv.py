"""Time the back ends of `modulated_deform_conv2d` against each other.

Every back end runs in turn within one process, so that a busy machine slows all of them alike; the
table gives medians. Offsets have a standard deviation of 2 pixels, as in a trained DyHead.

    python benchmarks/bm_deform_conv.py --threads 2
    python benchmarks/bm_deform_conv.py --channels 64 --height 30 --width 40 --stride 2
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torchvision
from tabulate import tabulate
from torch import Tensor

from dyhead.ops import BACKENDS, modulated_deform_conv2d

REFERENCE = "torchvision"


def make_inputs(args: argparse.Namespace) -> list[Tensor]:
    """Random input, offset, mask, weight and bias of a 3x3 convolution that keeps the channels."""
    torch.manual_seed(0)
    height, width = ((length - 1) // args.stride + 1 for length in (args.height, args.width))
    tensors = [
        torch.randn(args.batch, args.channels, args.height, args.width),
        2 * torch.randn(args.batch, 18, height, width),
        torch.rand(args.batch, 9, height, width),
        torch.randn(args.channels, args.channels, 3, 3) / (9 * args.channels) ** 0.5,
        torch.zeros(args.channels),
    ]
    return [tensor.to(args.device).requires_grad_() for tensor in tensors]


def make_cases(args: argparse.Namespace) -> dict[tuple[str, str], Callable[[], object]]:
    """One function per pass and back end; each back end gets its favourite memory format."""
    inputs = make_inputs(args)
    cases: dict[tuple[str, str], Callable[[], object]] = {}
    for backend in BACKENDS:
        layout = torch.channels_last if backend == "bags" else torch.contiguous_format
        first = inputs[0].detach().contiguous(memory_format=layout).requires_grad_()
        leaves = [first, *inputs[1:]]

        def forward(leaves: list[Tensor] = leaves, backend: str = backend) -> Tensor:
            x, offset, mask, weight, bias = leaves
            return modulated_deform_conv2d(
                x, offset, mask, weight, bias, stride=args.stride, padding=1, backend=backend
            )

        cotangent = torch.randn_like(forward())  # in the output's own memory format

        def inference(forward: Callable[[], Tensor] = forward) -> Tensor:
            with torch.no_grad():
                return forward()

        def training(
            forward: Callable[[], Tensor] = forward,
            leaves: list[Tensor] = leaves,
            cotangent: Tensor = cotangent,
        ) -> object:
            return torch.autograd.grad(forward(), leaves, cotangent)

        cases["forward", backend] = inference
        cases["forward + backward", backend] = training
    return cases


def measure(function: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def main() -> None:
    """Parse the arguments, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--height", type=int, default=100)
    parser.add_argument("--width", type=int, default=168)
    parser.add_argument("--stride", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    cases = make_cases(args)
    for function in cases.values():  # warm up
        measure(function, args.device)
    seconds: dict[tuple[str, str], list[float]] = {name: [] for name in cases}
    for _ in range(args.rounds):
        for name, function in cases.items():
            seconds[name].append(measure(function, args.device))

    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = [
        (which, backend, 1000 * median, medians[which, REFERENCE] / median)
        for (which, backend), median in sorted(medians.items())
    ]
    print(
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, {args.device},"
        f" {args.threads} threads; batch {args.batch}, {args.channels} channels,"
        f" {args.height} x {args.width}, stride {args.stride}; medians of {args.rounds} rounds"
    )
    headers = ("pass", "back end", "ms", f"times {REFERENCE}'s speed")
    print(tabulate(rows, headers=headers, floatfmt=".1f"))


if __name__ == "__main__":
    main()
