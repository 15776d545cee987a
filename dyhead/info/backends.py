"""Describes the C++ extension and the back ends of the deformable convolution."""

from typing import Any


def describe_extension(build: bool = False) -> dict[str, Any]:
    """Describe state, file and compiler of the C++ extension.

    Args:
        build: build it where it is not built yet.
    """
    from dyhead.ops.cpp import extension

    if build:
        extension.load()
    state = extension.find_state()
    description: dict[str, Any] = {"state": _in_words(state)}
    if state.reason:
        description["reason"] = state.reason
    return description | {
        "library": str(state.library),
        "compiler": state.compiler or "none with OpenMP (omp.h)",
    }


def _in_words(state: Any) -> str:
    if state.reason:
        return "not used"
    return "built" if state.is_built else "not built yet: first use builds it, in half a minute"


def describe_backends() -> dict[str, Any]:
    """Describe for each device the chosen back end, and the reasons against the others."""
    import torch

    names = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    names += ["mps"] if torch.backends.mps.is_available() else []
    return {name: _describe_device(torch.device(name)) for name in names}


def _describe_device(device: Any) -> dict[str, str]:
    from dyhead.ops.backends import BACKENDS, FALLBACK, preferred_backends

    reasons = {name: _why_not(name, device) for name in BACKENDS}
    serving = [name for name in preferred_backends(device) if not reasons[name]]
    answers = {name: f"no: {reason}" if reason else "yes" for name, reason in reasons.items()}
    answers[serving[0] if serving else FALLBACK] += ", chosen automatically"
    return answers


def _why_not(name: str, device: Any) -> str:
    """Ask the back end, but do not build the extension for the answer."""
    from dyhead.ops.backends import why_not
    from dyhead.ops.cpp import extension

    if name == "cpp" and device.type == "cpu":
        state = extension.find_state()
        if not state.is_built:
            return state.reason
    return why_not(name, device)
