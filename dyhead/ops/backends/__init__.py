"""The deformable convolution's back ends: their arguments, their protocol, registry and choice."""

from dyhead.ops.backends.arguments import DeformConv, Pair, check_together
from dyhead.ops.backends.registry import (
    BACKEND_VARIABLE,
    BACKENDS,
    FALLBACK,
    Backend,
    Gradients,
    Outputs,
    PackedKernels,
    choose_backend,
    pack_once,
    preferred_backends,
    register_backend,
    set_default_backend,
    why_not,
)

__all__ = [
    "BACKENDS",
    "BACKEND_VARIABLE",
    "FALLBACK",
    "Backend",
    "DeformConv",
    "Gradients",
    "Outputs",
    "PackedKernels",
    "Pair",
    "check_together",
    "choose_backend",
    "pack_once",
    "preferred_backends",
    "register_backend",
    "set_default_backend",
    "why_not",
]
