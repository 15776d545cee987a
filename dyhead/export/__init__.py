"""Trained detectors as ONNX models and as programs of torch.export (docs/export.md).

Importing it needs neither onnx nor onnxruntime; what needs them says so.
"""

from dyhead.export.check import Check, compare
from dyhead.export.exporting import export_onnx, export_torch
from dyhead.export.onnx_runner import OnnxRunner
from dyhead.export.translation import translation_table

__all__ = [
    "Check",
    "OnnxRunner",
    "compare",
    "export_onnx",
    "export_torch",
    "translation_table",
]
