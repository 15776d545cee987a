"""Explanation of detections: what the attentions of DyHead did for each of them."""

from dyhead.explanation.explain import Explainer
from dyhead.explanation.explained import (
    ExplainedDetection,
    Explanation,
    LevelAttention,
    SampledPoints,
)

__all__ = [
    "ExplainedDetection",
    "Explainer",
    "Explanation",
    "LevelAttention",
    "SampledPoints",
]
