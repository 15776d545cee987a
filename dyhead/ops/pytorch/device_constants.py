"""Small tensors that depend on sizes alone, copied to a device once instead of at every call."""

from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

_in_graphs: dict[int, Tensor] = {}


class _Copied:
    """Numbers on a device; on a GPU they are copied on its default stream, and nothing waits."""

    def __init__(self, numbers: Tensor, device: torch.device) -> None:
        self._copied: torch.cuda.Event | None = None
        if device.type != "cuda":
            self._tensor = numbers.to(device)
            return
        with torch.cuda.device(device):
            self._tensor = numbers.pin_memory().to(device, non_blocking=True)
            self._copied = torch.cuda.current_stream().record_event()

    def on_current_stream(self) -> Tensor:
        """The tensor, after which the current stream has what was copied, and keeps it alive."""
        if not self._tensor.is_cuda:
            return self._tensor
        if torch.cuda.is_current_stream_capturing():
            # Capturing begins when the device is done with everything; nothing else may be waited
            # for, and a replay needs the address for good.
            _in_graphs[id(self._tensor)] = self._tensor
            return self._tensor
        stream = torch.cuda.current_stream(self._tensor.device)
        copied = self._copied  # another thread may forget it meanwhile
        if copied is not None:
            if copied.query():
                self._copied = None
            else:
                stream.wait_event(copied)
        if stream != torch.cuda.default_stream(self._tensor.device):
            self._tensor.record_stream(stream)
        return self._tensor


def device_constant(
    make: Callable[..., Any],
    arguments: tuple[Hashable, ...],
    like: Tensor,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """A tensor of the numbers that `make(*arguments)` gives, which must be the same at every call.

    A CUDA graph may use it: one that it has seen is kept for good, since the graph keeps its
    address; others are forgotten after some thousands of newer ones.

    Args:
        make: a function of a module.
        arguments: hashable.
        like: on whose device the constant shall be.
        dtype: that of `like`, unless given.
    """
    dtype = dtype or like.dtype
    if torch.compiler.is_compiling() or type(like) is not Tensor:
        # Tensors without data, as in tracing, are of a subclass and must not be kept.
        return torch.tensor(make(*arguments), dtype=dtype, device=like.device)
    return _kept(make, arguments, dtype, like.device).on_current_stream()


@lru_cache(maxsize=4096)
def _kept(
    make: Callable[..., Any],
    arguments: tuple[Hashable, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> _Copied:
    # In a thread of its own, which shares neither inference mode, whose tensors could not serve
    # training, nor the memory that torch.compile sets aside for what a CUDA graph allocates, nor
    # the current stream.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(
            lambda: _Copied(torch.tensor(make(*arguments), dtype=dtype), device)
        ).result()
