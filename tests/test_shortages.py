"""The real errors of a machine that lacks something become one sentence that says so."""

import errno
import multiprocessing
import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from dyhead.errors import UserError
from dyhead.shortages import available_memory, describe_shortage, name_shortages

TOO_MUCH = 1 << 60  # bytes


class Harmful(Dataset):
    """A data set whose reading does harm to the process that reads."""

    def __init__(self, harm: Callable[[], object]) -> None:
        self.harm = harm

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        self.harm()
        return index


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def out_of_memory() -> None:
    raise MemoryError("Unable to allocate 7.0 GiB for an array")


def error_of(action: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        action()
    return caught.value


def test_memory_that_pytorch_cannot_have_is_told_with_its_size() -> None:
    error = error_of(lambda: torch.empty(TOO_MUCH, dtype=torch.uint8))
    sentence = describe_shortage(error)
    assert sentence.startswith(f"Out of memory when {TOO_MUCH >> 20} MiB more were needed")
    assert "lower SOLVER.IMS_PER_BATCH" in sentence and "--resume" in sentence


def test_memory_that_numpy_cannot_have_is_told_with_its_size() -> None:
    error = error_of(lambda: np.zeros(TOO_MUCH // 8, dtype=np.int64))
    assert describe_shortage(error).startswith("Out of memory when 1.00 EiB more were needed")


def test_memory_of_a_gpu_is_told() -> None:
    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15 GiB"
    )
    assert describe_shortage(error).startswith(
        "Out of memory when 2.00 GiB more were needed: lower SOLVER.IMS_PER_BATCH"
    )


@pytest.mark.parametrize("norm", [torch.nn.GroupNorm(4, 4), torch.nn.BatchNorm2d(4)])
def test_a_map_of_one_pixel_that_cannot_be_normalised_is_told(norm: torch.nn.Module) -> None:
    error = error_of(lambda: norm(torch.zeros(1, 4, 1, 1)))
    assert "one pixel" in describe_shortage(error)
    assert "raise INPUT.MIN_SIZE_TRAIN" in describe_shortage(error)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no full disk at hand")
def test_a_full_disk_is_told() -> None:
    def fill() -> None:
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"content")

    assert describe_shortage(error_of(fill)).startswith("No room for a file (No space left")


def test_an_error_that_a_full_disk_led_to_is_told_as_that() -> None:
    def fail() -> None:
        try:
            raise OSError(errno.ENOSPC, "it takes 9 MiB, 3 MiB are free", "model.pth")
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0") from None

    sentence = describe_shortage(error_of(fail))
    assert sentence.startswith("No room for model.pth (it takes 9 MiB, 3 MiB are free): remove old")


@pytest.mark.parametrize(
    ("error", "beginning"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "Too many files are open: raise ulimit -n"),
        (RuntimeError("can't start new thread"), "The system starts no further thread"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "The system starts no"),
        (
            RuntimeError(
                "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that"
                " dataloader's workers are out of shared memory. Please try to raise your shared"
                " memory limit."
            ),
            "A loader worker (process 7) was ended by the signal Bus error",
        ),
        (
            RuntimeError("unable to write to file </torch_12_34_0>: No space left on device (28)"),
            "There is too little shared memory",
        ),
        (
            RuntimeError("[../gloo/transport/tcp/pair.cc] Connection closed by peer [127.0.0.1]"),
            "Another process of this run has ended",
        ),
    ],
)
def test_other_shortages_are_told(error: Exception, beginning: str) -> None:
    assert describe_shortage(error).startswith(beginning)


@pytest.mark.parametrize(
    "error",
    [ValueError("a bug"), RuntimeError("shape mismatch"), OSError(errno.ENOENT, "no such", "f")],
)
def test_any_other_error_passes_through(error: Exception) -> None:
    assert describe_shortage(error) == ""
    with pytest.raises(type(error)), name_shortages():
        raise error


@pytest.mark.skipif(os.name != "posix", reason="there are no such signals")
def test_a_killed_loader_worker_is_told_and_none_is_left() -> None:
    with (
        pytest.raises(UserError, match=r"A loader worker \(process \d+\) was ended by.*Killed"),
        name_shortages(),
    ):
        list(DataLoader(Harmful(kill_itself), num_workers=2))
    assert multiprocessing.active_children() == []


def test_memory_that_a_loader_worker_lacks_is_told() -> None:
    error = error_of(lambda: list(DataLoader(Harmful(out_of_memory), num_workers=1)))
    assert describe_shortage(error).startswith("Out of memory when 7.0 GiB more were needed")


@pytest.mark.skipif(os.name != "posix", reason="there are no such signals")
def test_a_loader_worker_that_hangs_is_told_and_ended() -> None:
    def stop_itself() -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    start = time.monotonic()
    with pytest.raises(UserError, match="no image for 1 s.*DATALOADER.TIMEOUT"), name_shortages():
        list(DataLoader(Harmful(stop_itself), num_workers=1, timeout=1))
    assert time.monotonic() - start < 60
    assert multiprocessing.active_children() == []


def test_free_memory_is_told_where_the_system_tells() -> None:
    text = available_memory()
    assert text == "" or text.endswith(" MiB are free")
