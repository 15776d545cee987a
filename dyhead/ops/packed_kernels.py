"""Kernels in the order in which a back end reads them, made once for several convolutions.

Packing a kernel costs as much as convolving some tens of positions.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from torch import Tensor

_shared = threading.local()

# By the identity of the kernel and the form; with the kernel, so that no other gets its identity.
PackedKernels = dict[tuple[int, Hashable], tuple[Tensor, Tensor]]


@contextmanager
def sharing_packed_kernels(packed: PackedKernels) -> Iterator[None]:
    """Within the context, convolutions with one kernel share its packed form.

    Args:
        packed: empty at first; may be used for several contexts as long as no kernel changes.
    """
    before = getattr(_shared, "packed", None)
    _shared.packed = packed
    try:
        yield
    finally:
        _shared.packed = before


def pack_once(weight: Tensor, form: Hashable, pack: Callable[[Tensor], Tensor]) -> Tensor:
    """Call `pack(weight)`, unless an earlier call of the context did, for the same `form`."""
    packed: PackedKernels | None = getattr(_shared, "packed", None)
    if packed is None:
        return pack(weight)
    key = id(weight), form
    if key not in packed:
        packed[key] = weight, pack(weight)
    return packed[key][1]
