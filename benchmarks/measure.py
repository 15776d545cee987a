"""Measures time, peak memory and memory saved for backward of a call.

What is compared runs in turn, round by round within one process, so that a busy machine slows all
of it alike.
"""

import argparse
import ctypes
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

Call = Callable[[], object]
Key = TypeVar("Key", bound=Hashable)

MEGABYTE = 1e6
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Timing:
    """The seconds of one call: median and quartiles of all rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: list[float]) -> "Timing":
        """Summarise the rounds."""
        if len(seconds) == 1:
            return cls(seconds[0], seconds[0], seconds[0])
        low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
        return cls(median, low, high)


def time_interleaved(
    calls: Mapping[Key, Call], rounds: int, device: torch.device, min_seconds: float = 0.05
) -> dict[Key, Timing]:
    """Time every call once per round, after a warm-up; short calls are repeated within a round.

    Args:
        calls: by name, or any other key.
        rounds: one or more.
        device: on a GPU its own events are the clock.
        min_seconds: how long a call is repeated at least, within one round.
    """
    repeats = {}
    for name, call in calls.items():
        seconds = _seconds(call, 1, device)
        # The first call also built, loaded or tuned something; only a slow CPU need not wait again.
        if seconds < 1 or device.type != "cpu":
            seconds = _seconds(call, 1, device)
        repeats[name] = max(1, math.ceil(min_seconds / seconds))
    measured: dict[Key, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            measured[name].append(_seconds(call, repeats[name], device))
    return {name: Timing.of(seconds) for name, seconds in measured.items()}


def _seconds(call: Call, repeats: int, device: torch.device) -> float:
    if device.type == "cuda":
        return _seconds_by_events(call, repeats, device)
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def _seconds_by_events(call: Call, repeats: int, device: torch.device) -> float:
    """Measure the seconds between two events in the device's own queue."""
    with torch.cuda.device(device):
        torch.cuda.synchronize()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            call()
        end.record()
        torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000 / repeats


def count_launches(call: Call, device: torch.device) -> int | None:
    """Count the kernels that a call launches on a GPU, after a warm-up.

    Returns:
        None on other devices, and where the profiler cannot see the GPU.
    """
    if device.type != "cuda":
        return None
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    call()
    torch.cuda.synchronize(device)
    with torch.profiler.profile(activities=activities) as profile:
        call()
        torch.cuda.synchronize(device)
    kernels = [
        event.name
        for event in profile.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
        and not event.name.startswith(("Memcpy", "Memset"))
    ]
    return len(kernels) or None


def peaks_in_new_process(
    make_calls: Callable[..., Mapping[Key, Call]], args: argparse.Namespace, *rest: Any
) -> dict[Key, int | None]:
    """Measure `peak_extra_bytes` of every call of `make_calls(args, *rest)`, in a process each.

    On CPU in a process of its own, whose C library (glibc) gives larger pieces of memory back as
    soon as they are freed: otherwise the peak depends on the holes that earlier calls left.

    Args:
        make_calls: a function at the top level of a module.
        args: with `device` and `threads`.
        rest: what can be sent to another process.
    """
    if args.device.type != "cpu":
        return _peaks(make_calls, args, *rest)
    spawn = multiprocessing.get_context("spawn")
    with (
        mock.patch.dict(os.environ, MALLOC_MMAP_THRESHOLD_=str(2**16)),
        ProcessPoolExecutor(1, spawn) as pool,
    ):
        return pool.submit(_peaks, make_calls, args, *rest).result()


def _peaks(
    make_calls: Callable[..., Mapping[Key, Call]], args: argparse.Namespace, *rest: Any
) -> dict[Key, int | None]:
    torch.set_num_threads(args.threads)
    peaks = {}
    for key, call in make_calls(args, *rest).items():
        call()
        peaks[key] = peak_extra_bytes(call, args.device)
    return peaks


def peak_extra_bytes(call: Call, device: torch.device) -> int | None:
    """Measure a call's peak memory beyond what was allocated before, its result included.

    On CUDA what torch's allocator handed out. On CPU the peak of the process's resident memory,
    which also sees what kernels allocate behind torch's back; Linux alone tells it.

    Returns:
        bytes, or None where the system does not tell.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if not _forget_peak():
        return None
    before = _resident_bytes("VmRSS")
    call()
    return max(0, _resident_bytes("VmHWM") - before)


def _forget_peak() -> bool:
    """Hand freed memory back to the system, then reset the peak."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # else the call reuses it unseen
        _CLEAR.write_text("5")
    except (OSError, AttributeError):
        return False
    return True


def _resident_bytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"{_STATUS} has no {field}")


def saved_bytes(call: Call, not_counted: Iterable[Tensor]) -> int:
    """Count the bytes that autograd keeps for backward after `call`, a forward pass.

    Every storage counts once, the inputs too; those of `not_counted` do not (parameters exist
    anyway).
    """
    known = {_storage(tensor) for tensor in not_counted}
    kept: dict[int, torch.UntypedStorage] = {}  # alive: a freed one's address could come back

    def pack(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in known:
            kept[_storage(tensor)] = tensor.untyped_storage()
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(pack, lambda tensor: tensor):
        call()
    return sum(storage.nbytes() for storage in kept.values())


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def state_of(module: nn.Module) -> list[Tensor]:
    """Return parameters and buffers by name."""
    return [*module.parameters(), *module.buffers()]


def _largest(errors: Iterable[float]) -> float:
    """Return the largest; NaN where there is one, which `max` may pass over."""
    return float(torch.tensor(list(errors), dtype=torch.float64).max())


def max_error(values: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """Return the largest absolute difference over all tensors."""
    return _largest(
        float((value.double() - other.double()).abs().max())
        for value, other in zip(values, expected, strict=True)
    )


def relative_error(values: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """Return the norm of the difference by that of the tensor, for the tensor that differs most."""
    return _largest(
        float((value.double() - other.double()).norm() / other.double().norm())
        for value, other in zip(values, expected, strict=True)
        if bool(other.any())
    )
