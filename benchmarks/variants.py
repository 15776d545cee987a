"""The variants that are compared with the baseline: form of the block, back end, precision."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest import mock

import torch
from baseline import forced_backend
from mmdet_formulation import mmcv_operator

from dyhead.ops import BACKENDS, modulated_deform_conv2d
from dyhead.ops.cpp import extension

# torch.set_float32_matmul_precision and, within autocast, the type.
PRECISIONS: dict[str, tuple[str, torch.dtype | None]] = {
    "float32": ("highest", None),
    "bf16x3": ("high", None),
    "bfloat16": ("highest", torch.bfloat16),
    "float16": ("highest", torch.float16),
}

# What a back end offers besides float32; torchvision's has no other type on a CPU.
_OTHER_PRECISIONS = {
    ("pytorch", "cpu"): ["bfloat16"],
    ("cpp", "cpu"): ["bf16x3", "bfloat16"],
    ("torchvision", "cuda"): ["bfloat16"],
    ("triton", "cuda"): ["bfloat16", "float16"],
}


@dataclass(frozen=True)
class Variant:
    """A way to compute the same: form of the block, back end and precision.

    Attributes:
        block: "baseline", "mmdet", "plain" or "fused".
        backend: of the deformable convolution. "pytorch" stands for a machine without a compiler:
            nothing of the C++ extension is used.
        precision: a key of PRECISIONS.
        compiled: by torch.compile.
    """

    block: str
    backend: str
    precision: str = "float32"
    compiled: bool = False

    @property
    def name(self) -> str:
        """The name in tables."""
        compiled = ", compiled" if self.compiled else ""
        return f"{self.block}, {self.backend}, {self.precision}{compiled}"

    @contextmanager
    def active(self, device: torch.device) -> Iterator[None]:
        """Let everything within the context compute this way; backward needs it too."""
        float32_precision, dtype = PRECISIONS[self.precision]
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(float32_precision)
        try:
            with ExitStack() as stack:
                if self.backend in BACKENDS:
                    stack.enter_context(forced_backend(self.backend))
                if self.backend == "pytorch":
                    stack.enter_context(_no_compiler())
                if dtype is not None:
                    stack.enter_context(torch.autocast(device.type, dtype))
                yield
        finally:
            torch.set_float32_matmul_precision(before)


BASELINE = Variant("baseline", "torchvision")
AUTOCAST_BASELINE = Variant("baseline", "torchvision", "bfloat16")  # what users of a GPU run


def _no_compiler() -> mock._patch:
    """Make the C++ extension unavailable, as on a machine without a compiler."""
    return mock.patch.object(extension, "_loaded", False)


def serving_backends(device: torch.device) -> list[str]:
    """List the back ends that run on `device`, found by trying; print why the others do not."""
    x, offset, mask, weight = (
        torch.rand(shape, device=device)
        for shape in ((1, 16, 4, 4), (1, 18, 4, 4), (1, 9, 4, 4), (16, 16, 3, 3))
    )
    serving = []
    for backend in BACKENDS:
        try:
            modulated_deform_conv2d(x, offset, mask, weight, padding=1, backend=backend)
        except (RuntimeError, ValueError, ImportError) as error:
            print(f"{backend} does not serve {device}: {str(error).splitlines()[0]}")
        else:
            serving.append(backend)
    return serving


def precisions(backend: str, device: torch.device) -> list[str]:
    """List all precisions that a back end offers on `device`."""
    return ["float32", *_OTHER_PRECISIONS.get((backend, device.type), [])]


def block_variants(device: torch.device, compiled: bool = False) -> list[Variant]:
    """List all ways to compute a block on `device`, the baseline first."""
    backends = serving_backends(device)
    variants = _baselines(device)
    variants += [Variant("plain", backend) for backend in backends]
    variants += fused_variants(device, backends)
    if compiled:
        variants += [Variant(v.block, v.backend, v.precision, True) for v in variants]
    return variants


def model_variants(device: torch.device) -> list[Variant]:
    """List the ways to compute a detector that are compared, the baseline first."""
    return [*_baselines(device), *fused_variants(device, serving_backends(device))]


def fused_variants(device: torch.device, backends: Sequence[str]) -> list[Variant]:
    """List the fused block on each back end that may be chosen, at each precision."""
    fallback = {"cpu": "torchvision", "cuda": "pytorch"}.get(device.type)  # never chosen by itself
    useful = [backend for backend in backends if backend != fallback]
    return [Variant("fused", b, precision) for b in useful for precision in precisions(b, device)]


def _baselines(device: torch.device) -> list[Variant]:
    variants = [BASELINE]
    if device.type == "cuda":
        variants.append(AUTOCAST_BASELINE)
    if mmcv_operator() is not None:
        variants.append(Variant("mmdet", "mmcv"))
    return variants
