"""Translation of the project's operators to standard ones of ONNX, for its modern exporter."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

import dyhead.ops  # noqa: F401  registers the operators
from dyhead.export.extra import import_extra

MIN_OPSET = 20
_BOOL = 9  # onnx.TensorProto.BOOL


def translation_table() -> dict[Any, Callable[..., Any]]:
    """Make the table for `torch.onnx.export(..., dynamo=True, custom_translation_table=...)`.

    The exporter's `opset_version` must be 20 or more.

    Raises:
        UserError: onnxscript is not installed.
    """
    op = import_extra("onnxscript").opset20
    return {
        torch.ops.dyhead.modulated_deform_conv2d.default: _deform_conv(op),
        torch.ops.dyhead.non_max_suppression.default: _non_max_suppression(op),
    }


def _deform_conv(op: Any) -> Callable[..., Any]:
    def deform_conv(
        input: Any,
        offset: Any,
        mask: Any,
        weight: Any,
        bias: Any,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        backend: str,
    ) -> Any:
        # ONNX lays offsets out as (kernel row, kernel column, (dy, dx)), and so do we.
        geometry = {"strides": [*stride], "pads": [*padding] * 2, "dilations": [*dilation]}
        return op.DeformConv(input, weight, offset, bias, mask, **geometry)

    return deform_conv


def _non_max_suppression(op: Any) -> Callable[..., Any]:
    def non_max_suppression(
        boxes: Any, scores: Any, classes: Any, num_classes: int, iou_threshold: float
    ) -> Any:
        # ONNX wants a row of scores for each class, and gives triples of picture, class and box.
        one = op.Constant(value_ints=[1])
        column = op.Constant(value_ints=list(range(num_classes)))
        column = op.Unsqueeze(column, op.Constant(value_ints=[0, 2]))  # (1, K, 1)
        is_of_class = op.Equal(op.Unsqueeze(classes, one), column)
        nowhere = op.Constant(value_float=-1.0)
        selected = op.NonMaxSuppression(
            boxes,
            op.Where(is_of_class, op.Unsqueeze(scores, one), nowhere),  # (N, K, D)
            op.Shape(scores, start=1),
            op.Constant(value_floats=[iou_threshold]),
            op.Constant(value_floats=[-0.5]),  # candidates have no negative scores
        )
        kept = op.ScatterND(
            op.Expand(op.Constant(value_int=0), op.Shape(scores)),
            op.Gather(selected, op.Constant(value_ints=[0, 2]), axis=1),
            op.Expand(op.Constant(value_int=1), op.Shape(selected, end=1)),
        )
        return op.Cast(kept, to=_BOOL)

    return non_max_suppression
