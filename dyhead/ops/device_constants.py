"""Small tensors that depend on sizes alone, copied to a device once instead of at every call."""

from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

_in_graphs: dict[int, Tensor] = {}


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
    constant = _kept(make, arguments, dtype, like.device)
    if like.is_cuda and torch.cuda.is_current_stream_capturing():
        _in_graphs[id(constant)] = constant
    return constant


@lru_cache(maxsize=4096)
def _kept(
    make: Callable[..., Any],
    arguments: tuple[Hashable, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    numbers = torch.tensor(make(*arguments), dtype=dtype)
    # In a thread of its own, which shares neither inference mode, whose tensors could not serve
    # training, nor the memory that torch.compile sets aside for what a CUDA graph allocates.
    with ThreadPoolExecutor(max_workers=1) as thread:
        constant = thread.submit(torch.empty, numbers.shape, dtype=dtype, device=device).result()
    if device.type == "cuda":
        numbers = numbers.pin_memory()  # so that nothing waits for the copy
    return constant.copy_(numbers, non_blocking=True)
