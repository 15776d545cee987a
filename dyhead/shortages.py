"""Names what a program had too little of, such as memory, a disk or pixels, and what to change.

Nothing here needs PyTorch, so that every command can have it.
"""

import errno
import multiprocessing
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dyhead.errors import UserError

_AFTERWARDS = "What was saved stays; a training goes on from there with --resume."
_HAS_SIGCHLD = hasattr(signal, "SIGCHLD")
_SECONDS_TO_END = 10
_FULL_DISK = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NEEDED = re.compile(r"(?i:tried|unable) to allocate ([\d.]+ (?:[KMGTPE]iB|bytes))")
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory", re.IGNORECASE)
_NO_SHARED_MEMORY = re.compile(r"shared memory \(shm\)|/dev/shm|</torch_\d")
_NO_PROCESS = re.compile(r"can't start new thread|Resource temporarily unavailable")
_WORKER_KILLED = re.compile(r"DataLoader worker \(pid (\d+)\) is killed by signal: (\w[\w ]*)")
_WORKER_ENDED = re.compile(r"DataLoader worker \(pid\(s\) ([\d, ]+)\) exited unexpectedly")
_WORKER_TIMEOUT = re.compile(r"DataLoader timed out after (\d+) seconds")
_ONE_VALUE = "Expected more than 1 value per channel when training"
_PEER_GONE = re.compile(r"Connection (?:closed|reset) by peer|remote process exited")


@contextmanager
def name_shortages() -> Iterator[None]:
    """Turn the errors of a machine that has too little of something into one sentence.

    Processes that this one has started are ended, so that none is left waiting.

    Raises:
        UserError: in the place of an error about memory, disks, processes, loader workers or maps
            of a single pixel.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        sentence = describe_shortage(error)
        if not sentence:
            raise
        _end_children()
        raise UserError(sentence) from error


def _end_children() -> None:
    """End the processes that this one has started; a stopped one notices nothing milder.

    PyTorch's DataLoader raises an error wherever this process is when a worker ends: not now.
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if _HAS_SIGCHLD and is_main else None
    try:
        for child in multiprocessing.active_children():
            child.kill()
            child.join(_SECONDS_TO_END)
    finally:
        if before is not None:
            signal.signal(signal.SIGCHLD, before)


def describe_shortage(error: BaseException) -> str:
    """Say in one sentence what was lacking, and what to change; "" for any other error.

    Args:
        error: looked at together with those that led to it, the first one first.
    """
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    sentence = next(filter(None, map(_describe_one, reversed(chain))), "")
    return f"{sentence} {_AFTERWARDS}" if sentence else ""


def _describe_one(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return _describe_memory(str(error))
    if isinstance(error, OSError):
        return _describe_system_error(error)
    if isinstance(error, RuntimeError):
        return _describe_loader(str(error)) or _describe_runtime_error(str(error))
    if isinstance(error, ValueError) and _ONE_VALUE in str(error):
        return (
            "One image is so small that a feature map of it has one pixel, too little for a norm:"
            " raise INPUT.MIN_SIZE_TRAIN and MIN_SIZE_TEST, or SOLVER.IMS_PER_BATCH to two images"
            " in each process."
        )
    return ""


def _describe_system_error(error: OSError) -> str:
    if error.errno in _FULL_DISK:
        return (
            f"No room for {error.filename or 'a file'} ({error.strerror}): remove old checkpoints"
            " or other files, or set OUTPUT_DIR to a folder on another disk."
        )
    if error.errno == errno.ENOMEM:
        return _describe_memory(str(error))
    if error.errno == errno.EMFILE:
        return "Too many files are open: raise ulimit -n, or lower DATALOADER.NUM_WORKERS."
    return _describe_runtime_error(str(error))


def _describe_loader(text: str) -> str:
    """Describe an error of PyTorch's DataLoader about its workers."""
    if found := _WORKER_TIMEOUT.search(text):
        return (
            f"The loader workers gave no image for {found[1]} s: see if the disk of the images"
            " answers, or raise DATALOADER.TIMEOUT."
        )
    if found := _WORKER_KILLED.search(text):
        what = f"A loader worker (process {found[1]}) was ended by the signal {found[2].strip()}"
    elif found := _WORKER_ENDED.search(text):
        what = f"A loader worker (process {found[1]}) ended unexpectedly"
    else:
        return ""
    free = available_memory()
    return (
        f"{what}, often for lack of memory{f' ({free})' if free else ''}: lower"
        " DATALOADER.NUM_WORKERS or INPUT.MAX_SIZE_TRAIN."
    )


def _describe_runtime_error(text: str) -> str:
    if _NO_SHARED_MEMORY.search(text):
        return (
            "There is too little shared memory (/dev/shm) for the loader workers: enlarge it"
            " (docker run --shm-size 8g), or set DATALOADER.NUM_WORKERS to 0."
        )
    if _NO_PROCESS.search(text):
        return (
            "The system starts no further thread or process (see ulimit -u): lower"
            " DATALOADER.NUM_WORKERS, --num-gpus or OMP_NUM_THREADS."
        )
    if _PEER_GONE.search(text):
        return "Another process of this run has ended: its own last lines say why."
    return _describe_memory(text) if _NO_MEMORY.search(text) else ""


def _describe_memory(text: str) -> str:
    found = _NEEDED.search(text)
    needed = f" when {_in_mib(found[1])} more were needed" if found else ""
    free = "" if "CUDA" in text else available_memory()  # PyTorch's own words have the GPU's
    return (
        f"Out of memory{needed}{f' ({free})' if free else ''}: lower SOLVER.IMS_PER_BATCH,"
        " INPUT.MAX_SIZE_TRAIN, INPUT.MAX_SIZE_TEST or DATALOADER.NUM_WORKERS."
    )


def _in_mib(amount: str) -> str:
    number, _, unit = amount.partition(" ")
    return f"{int(number) / 2**20:.0f} MiB" if unit == "bytes" else amount


def available_memory() -> str:
    """Say how much memory this process can still get, where the system tells; else ""."""
    free = [amount for amount in (_free_of_machine(), _free_of_limit()) if amount is not None]
    return f"{max(0, min(free)) / 2**20:.0f} MiB are free" if free else ""


def _free_of_machine() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) << 10 for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration, ValueError):
        return None


def _free_of_limit() -> int | None:
    """Return what the limit of this process's address space leaves, None where there is none."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError):
        return None
    return None if limit == resource.RLIM_INFINITY else limit - used
