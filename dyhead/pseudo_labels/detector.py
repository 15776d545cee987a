"""Brings a ready detector into the form that labels: several scales, broken images left out."""

from typing import Any

from torch import nn

from dyhead.detector import ReadyDetector
from dyhead.engine.precision import build_test_precision
from dyhead.modeling.tta import build_multi_scale_testing
from dyhead.pseudo_labels.images import UNREADABLE


def labelling_model(detector: ReadyDetector) -> nn.Module:
    """The detector's model; for multi-scale testing if TEST.AUG.ENABLED, in TEST.PRECISION.

    Returns:
        a model for batches of `build_image_loader`; it answers None for an unreadable image.

    Raises:
        UserError: an option of TEST.AUG cannot be used.
    """
    cfg = detector.cfg
    model = build_test_precision(cfg, build_multi_scale_testing(cfg, detector.model))
    return _ReadableOnly(model).eval()


class _ReadableOnly(nn.Module):
    """Passes a model the images that could be read."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
        """The model's outputs, with None in the places of unreadable images."""
        readable = [image for image in batch if UNREADABLE not in image]
        outputs = iter(self.model(readable) if readable else [])
        return [None if UNREADABLE in image else next(outputs) for image in batch]
