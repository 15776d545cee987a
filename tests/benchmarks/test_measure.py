"""Times are taken in turns; memory is what a call adds, at its peak or for backward."""

import argparse
import importlib
import math
from collections.abc import Callable
from pathlib import Path

import measure
import pytest
import torch
from torch import Tensor, nn

CPU = torch.device("cpu")


def test_timing_summarises_rounds() -> None:
    timing = measure.Timing.of([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (timing.low, timing.median, timing.high) == (2, 3, 4)
    assert measure.Timing.of([7.0]) == measure.Timing(7, 7, 7)


def test_calls_are_interleaved() -> None:
    called: list[str] = []
    calls = {name: lambda name=name: called.append(name) for name in "ab"}
    timings = measure.time_interleaved(calls, rounds=3, device=CPU, min_seconds=0)
    assert timings.keys() == calls.keys()
    assert "".join(called) == "aabb" + "ab" * 3  # twice each to warm up


def test_peak_memory_sees_temporaries_and_results() -> None:
    def call() -> Tensor:
        temporary = torch.ones(4 * 2**20)  # 16 MiB, gone at the end
        return temporary[: 2**20] + 1  # 4 MiB

    call()
    peak = measure.peak_extra_bytes(call, CPU)
    if peak is None:
        pytest.skip("this system does not tell")
    # Other memory of the process comes and goes by a few pages meanwhile.
    assert 19 * 2**20 <= peak < 24 * 2**20


def test_peaks_are_measured_in_a_new_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "two_sizes.py").write_text("""
import functools, torch
def make_calls(args, mebibytes):
    sizes = {"once": mebibytes, "twice": 2 * mebibytes}
    return {name: functools.partial(torch.ones, size * 2**18) for name, size in sizes.items()}
""")
    monkeypatch.syspath_prepend(tmp_path)
    two_sizes = importlib.import_module("two_sizes")
    args = argparse.Namespace(device=CPU, threads=1)
    peaks = measure.peaks_in_new_process(two_sizes.make_calls, args, 10)
    if peaks["once"] is None or peaks["twice"] is None:
        pytest.skip("this system does not tell")
    # Linux counts resident pages in batches.
    assert 9.5 * 2**20 <= peaks["once"] < 11 * 2**20
    assert 19.5 * 2**20 <= peaks["twice"] < 21 * 2**20


def test_saved_bytes_count_storages_once_and_no_parameters() -> None:
    linear = nn.Linear(8, 16, bias=False)
    x = torch.randn(4, 8)

    def call() -> Tensor:
        y = linear(x)  # keeps x: 128 bytes
        return (y * y).sum() + (y.view(-1) * 2).exp().sum()  # keeps y: 256; exp: 256

    assert measure.saved_bytes(call, linear.parameters()) == 128 + 256 + 256


@pytest.mark.parametrize("error", [measure.max_error, measure.relative_error])
def test_nan_in_a_later_tensor_is_told(
    error: Callable[[list[Tensor], list[Tensor]], float],
) -> None:
    one = torch.ones(2)
    assert math.isnan(error([one, one * math.nan], [one, one]))
    assert error([one, 3 * one], [one, one]) == 2
