"""The back ends of the deformable convolution: their protocol, their registry, and their choice.

| | serves |
| --- | --- |
| pytorch | everything: embedding bags in plain PyTorch |
| torchvision | CPU and CUDA; computes in float32 inside, also for 16-bit input |
| cpp | CPU: float32, bfloat16; compiled on first use, where there is a compiler |
| triton | CUDA: float32, bfloat16, float16 |
"""

import functools
import logging
import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from dyhead.ops.backends.arguments import DeformConv, Pair

logger = logging.getLogger(__name__)

BACKEND_VARIABLE = "DYHEAD_DEFORM_CONV"
FALLBACK = "pytorch"  # computes every type on every device
OLD_NAMES = {"bags": FALLBACK}

# Gradients of input, offset, mask, weight and bias; None where not needed.
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]
Outputs = tuple[list[Tensor], list[Tensor] | None]  # and their moments

# Weights in the order in which a back end reads them, by the identity of the weight and the form;
# with the weight, so that no other one gets its identity.
PackedKernels = dict[tuple[int, str], tuple[Tensor, Tensor]]


class Backend(Protocol):
    """One implementation of the deformable convolution; others inherit from it.

    A class without `forward` or `gradients` cannot be instantiated.

    Its methods get arguments that were checked: input, weight and bias of one type, offset and mask
    in float32 (float64 for float64), since 16 bits cannot hold the coordinates of pixels. They
    accumulate in float32 at least and answer in the types of their arguments. They run with
    autocast and gradients off: `deform_conv.convolve` tells autograd what was computed.

    Attributes:
        name: in configs, in the environment variable and in logs.
        dtypes: types of inputs that it computes; None for every type.
        chosen_on: types of devices on which it is chosen automatically, where it serves.
    """

    name: str
    dtypes: tuple[torch.dtype, ...] | None = None
    chosen_on: tuple[str, ...] = ()

    def why_not(self, device: torch.device) -> str:
        """Say why it cannot serve a device, as the end of a sentence; "" where it can."""
        return ""

    @abstractmethod
    def forward(self, convolutions: Sequence[DeformConv], packed: PackedKernels) -> list[Tensor]:
        """Compute the outputs (N, O, Y, X) of convolutions whose inputs have one type and device.

        Args:
            convolutions: at least one.
            packed: for `pack_once`.
        """
        ...

    def forward_with_moments(
        self, convolutions: Sequence[DeformConv], level_sizes: Sequence[Pair], packed: PackedKernels
    ) -> Outputs:
        """Compute outputs and moments as `foreach_deform_conv_with_moments` returns them."""
        return self.forward(convolutions, packed), None

    @abstractmethod
    def gradients(
        self,
        grads: Sequence[Tensor],
        convolutions: Sequence[DeformConv],
        needed: Sequence[Sequence[bool]],
    ) -> list[Gradients]:
        """Compute the gradients of every convolution's tensors.

        Args:
            grads: of the outputs, in any memory layout.
            convolutions: one of the lists of `backward_groups`, without their biases.
            needed: for each convolution which of its five gradients.

        Returns:
            For each convolution its gradients; of a tensor that several of them share they may
            stand with any of these, as long as they add up.
        """
        ...

    def backward_groups(self, convolutions: Sequence[DeformConv]) -> list[list[int]]:
        """Tell which convolutions `gradients` takes together, by index: each alone."""
        return [[index] for index in range(len(convolutions))]


BACKENDS: dict[str, Backend] = {}  # by name; of two chosen on a device, the later one wins
_default_backend = ""
_logged: set[tuple[torch.device, str]] = set()


def register_backend(backend: Backend) -> None:
    """Add a back end, to be chosen by its name.

    On the types of devices in its `chosen_on` it is the automatic choice from then on, before those
    that are there.
    """
    BACKENDS[backend.name] = backend
    why_not.cache_clear()


def pack_once(
    packed: PackedKernels,
    weights: Sequence[Tensor],
    form: str,
    pack: Callable[[Tensor, str], Tensor],
) -> list[Tensor]:
    """Return `pack(weight, form)` of all weights, computed unless `packed` has it.

    Packing a weight costs as much as convolving some tens of positions.
    """
    for weight in weights:
        if (id(weight), form) not in packed:
            packed[id(weight), form] = weight, pack(weight, form)
    return [packed[id(weight), form][1] for weight in weights]


def set_default_backend(name: str) -> None:
    """Choose the back end for all calls that name none, where no environment variable does.

    Args:
        name: a key of `BACKENDS`, or "" for the automatic choice.

    Raises:
        ValueError: there is no such back end.
    """
    global _default_backend
    _default_backend = _current_name(name, "MODEL.DEFORM_CONV_BACKEND ") if name else ""


def choose_backend(
    device: torch.device, backend: str | None = None, dtype: torch.dtype = torch.float32
) -> str:
    """Name the back end that serves `device`, and log it once per device and choice.

    The argument wins over the environment variable DYHEAD_DEFORM_CONV, that over
    `set_default_backend` (the config key MODEL.DEFORM_CONV_BACKEND), and that over the automatic
    choice: on the CPU "cpp" where the extension is or can be built, on CUDA "triton" where it
    passes its self-check, else "torchvision"; "pytorch" wherever these are not to be had.

    Args:
        device: where the tensors are.
        backend: a key of `BACKENDS`, or None.
        dtype: of the input; a type that the back end lacks is served by another one.

    Raises:
        ValueError: what was asked for is no back end, or cannot serve `device`.
    """
    name, origin = _requested(backend)
    if name:
        name = _current_name(name, origin)
        if reason := why_not(name, device):
            raise ValueError(f"{origin}{name!r} cannot be served: {reason}.")
    else:
        name, origin = _automatic(device), "chosen automatically"
    if not _computes(name, dtype):
        name, origin = _automatic(device, dtype), f"{name} does not compute {dtype}"
    _log_once(device, name, origin)
    return name


def preferred_backends(device: torch.device) -> tuple[str, ...]:
    """Name the back ends that the automatic choice tries on a device, before "pytorch"."""
    return tuple(name for name in reversed(BACKENDS) if device.type in BACKENDS[name].chosen_on)


@functools.cache
def why_not(name: str, device: torch.device) -> str:
    """Say why a back end cannot serve a device; "" where it can.

    Args:
        name: a key of `BACKENDS`. Asking for "cpp" builds the extension.
        device: a CUDA device without a number is the current one.
    """
    return BACKENDS[name].why_not(device)


def _automatic(device: torch.device, dtype: torch.dtype | None = None) -> str:
    for name in preferred_backends(device):
        if (dtype is None or _computes(name, dtype)) and not why_not(name, device):
            return name
    return FALLBACK


def _computes(name: str, dtype: torch.dtype) -> bool:
    dtypes = BACKENDS[name].dtypes
    return dtypes is None or dtype in dtypes


def _requested(backend: str | None) -> tuple[str, str]:
    """Return the name that was asked for, or "", and how it was written."""
    if backend:
        return backend, "backend="
    if from_variable := os.environ.get(BACKEND_VARIABLE):
        return from_variable, f"environment variable {BACKEND_VARIABLE}="
    return _default_backend, "MODEL.DEFORM_CONV_BACKEND "


def _current_name(name: str, origin: str) -> str:
    """Return the name of a back end that may have been written by its old name.

    Raises:
        ValueError: there is no such back end.
    """
    if name in OLD_NAMES:
        _warn_of_old_name(name)
        return OLD_NAMES[name]
    if name not in BACKENDS:
        raise ValueError(
            f"{origin}{name!r} is no back end of the deformable convolution: use one of"
            f" {', '.join(BACKENDS)}."
        )
    return name


@functools.cache
def _warn_of_old_name(name: str) -> None:
    logger.warning("Deformable convolutions: %r is now called %r", name, OLD_NAMES[name])


def _log_once(device: torch.device, name: str, origin: str) -> None:
    if (device, name) not in _logged:
        _logged.add((device, name))
        logger.info("Deformable convolutions on %s: %s (%s)", device, name, origin.rstrip("= "))
