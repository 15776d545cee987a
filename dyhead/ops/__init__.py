"""Operators and their back ends, free of Detectron2 and of the rest of the project."""

from dyhead.ops import branch_mix
from dyhead.ops.backends import (
    BACKENDS,
    DeformConv,
    PackedKernels,
    choose_backend,
    register_backend,
    set_default_backend,
)
from dyhead.ops.cpp.branch_mix import CppPasses
from dyhead.ops.cpp.deform_conv import CppBackend
from dyhead.ops.deform_conv import (
    foreach_deform_conv_with_moments,
    foreach_modulated_deform_conv2d,
    modulated_deform_conv2d,
)
from dyhead.ops.pytorch.branch_mix import PyTorchPasses
from dyhead.ops.pytorch.embedding_bag import PyTorchBackend
from dyhead.ops.suppression import non_max_suppression
from dyhead.ops.torchvision import TorchvisionBackend
from dyhead.ops.triton.branch_mix import TritonPasses
from dyhead.ops.triton.deform_conv import TritonBackend

__all__ = [
    "BACKENDS",
    "DeformConv",
    "PackedKernels",
    "choose_backend",
    "foreach_deform_conv_with_moments",
    "foreach_modulated_deform_conv2d",
    "modulated_deform_conv2d",
    "non_max_suppression",
    "register_backend",
    "set_default_backend",
]

# Of those that can serve, the last registered is chosen: the fastest, for few devices and types.
for _backend in (PyTorchBackend(), TorchvisionBackend(), CppBackend(), TritonBackend()):
    register_backend(_backend)
for _passes in (PyTorchPasses(), CppPasses(), TritonPasses()):
    branch_mix.register_passes(_passes)
