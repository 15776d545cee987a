"""Tells when operators are recorded, not computed, by a compiler, an exporter or a tracer."""

import torch
from torch import Tensor, nn

_PLAIN = (Tensor, nn.Parameter)


def is_recorded(*tensors: Tensor) -> bool:
    """Tell if a convolution has to be one operator that others know, instead of its kernels.

    So it is under torch.compile and torch.export, under torch.jit.trace, and for tensors without
    data (FakeTensor) or of any other subclass, which kernels cannot read.

    Raises:
        RuntimeError: the legacy ONNX exporter records, which cannot translate the operator.
    """
    if torch.jit.is_tracing():
        _refuse_legacy_exporter()
        return True
    return torch.compiler.is_compiling() or any(type(tensor) not in _PLAIN for tensor in tensors)


def _refuse_legacy_exporter() -> None:
    """Stop the exporter that traces: it would write sizes down as constants."""
    if torch.onnx.is_in_onnx_export():
        raise RuntimeError(
            "The legacy ONNX exporter cannot export a deformable convolution: use `dyhead export`,"
            " or torch.onnx.export(..., dynamo=True, custom_translation_table="
            "dyhead.export.translation_table())."
        )


def is_exported() -> bool:
    """Tell if torch.export records, for which no step may depend on a size or a memory layout."""
    exporting = getattr(torch.compiler, "is_exporting", None)  # since PyTorch 2.7
    return exporting() if exporting is not None else torch.compiler._is_compiling_flag
