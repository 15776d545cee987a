"""Translation of the project's operators to standard ones of ONNX, for its modern exporter."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

import dyhead.ops  # noqa: F401  registers the operators

MIN_OPSET = 20


def translation_table() -> dict[Any, Callable[..., Any]]:
    """What `torch.onnx.export(..., dynamo=True, custom_translation_table=...)` takes.

    The exporter's `opset_version` must be 20 or more.

    Raises:
        UserError: onnxscript is not installed.
    """
    from dyhead.export.extra import import_extra

    op = import_extra("onnxscript").opset20

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
        """ONNX lays offsets out as (kernel row, kernel column, (dy, dx)), and so do we."""
        return op.DeformConv(
            input,
            weight,
            offset,
            bias,
            mask,
            strides=list(stride),
            pads=[*padding, *padding],
            dilations=list(dilation),
        )

    def suppress(
        boxes: Any, scores: Any, classes: Any, num_classes: int, iou_threshold: float
    ) -> Any:
        """ONNX wants scores (N, K, D), and gives triples of picture, class and box."""
        class_column = op.Constant(value_ints=list(range(num_classes)))
        class_column = op.Unsqueeze(class_column, op.Constant(value_ints=[0, 2]))  # (1, K, 1)
        one = op.Constant(value_ints=[1])
        by_class = op.Where(
            op.Equal(op.Unsqueeze(classes, one), class_column),
            op.Unsqueeze(scores, one),
            op.Constant(value_float=-1.0),
        )
        selected = op.NonMaxSuppression(
            boxes,
            by_class,
            op.Shape(scores, start=1),
            op.Constant(value_floats=[iou_threshold]),
            op.Constant(value_floats=[-0.5]),  # candidates have no negative scores
        )
        pairs = op.Gather(selected, op.Constant(value_ints=[0, 2]), axis=1)
        kept = op.ScatterND(
            op.Expand(op.Constant(value_int=0), op.Shape(scores)),
            pairs,
            op.Expand(op.Constant(value_int=1), op.Shape(pairs, end=1)),
        )
        return op.Cast(kept, to=_BOOL)

    return {
        torch.ops.dyhead.modulated_deform_conv2d.default: deform_conv,
        torch.ops.dyhead.non_max_suppression.default: suppress,
    }


_BOOL = 9  # onnx.TensorProto.BOOL
