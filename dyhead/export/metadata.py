"""The card of an exported file: JSON under the key of a `ModelCard` in its metadata.

Whoever made the file wrote it, so nothing in it is trusted before it has been checked.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

import torch

import dyhead
from dyhead.checkpoint.model_card import ModelCard, describe
from dyhead.detector import ReadyDetector
from dyhead.export.graph import DetectionGraph
from dyhead.safe_io.json_text import strict_json

DETECTIONS, RAW = "detections", "raw"  # with non-maximum suppression, or without


@dataclass(frozen=True)
class ExportedCard:
    """The checked part of the metadata that running a file needs."""

    card: ModelCard
    outputs: str  # DETECTIONS or RAW


def build_metadata(ready: ReadyDetector, graph: DetectionGraph) -> str:
    """Write the JSON text: the keys of a `ModelCard`, and those that describe the graph."""
    model = graph.model
    return strict_json(
        {
            **_card_of(ready).as_plain(),
            "architecture": type(model).__name__,
            "outputs": DETECTIONS if graph.with_nms else RAW,
            "pixel_mean": model.pixel_mean.flatten().tolist(),
            "pixel_std": model.pixel_std.flatten().tolist(),
            "size_divisibility": graph.size_divisibility,
            "score_threshold": model.test_score_thresh,
            "nms_threshold": model.test_nms_thresh,
            "candidates_per_level": model.test_topk_candidates,
            "max_detections": model.max_detections_per_image,
        }
    )


def _card_of(ready: ReadyDetector) -> ModelCard:
    """Return the checkpoint's card with the exported config, classes and versions."""
    card = ready.card or describe(ready.cfg)
    versions = {"dyhead": dyhead.__version__, "torch": str(torch.__version__)}
    return replace(
        card,
        config=ready.cfg.dump(),
        class_names=ready.class_names,
        category_ids=ready.category_ids,
        input_format=ready.cfg.INPUT.FORMAT,
        min_size=ready.cfg.INPUT.MIN_SIZE_TEST,
        max_size=ready.cfg.INPUT.MAX_SIZE_TEST,
        versions={**card.versions, **{f"export/{name}": v for name, v in versions.items()}},
    )


def read_metadata(text: Any) -> ExportedCard:
    """Check the JSON text of a file.

    Raises:
        ValueError: it is none that `build_metadata` wrote.
    """
    try:
        data = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError("its metadata is no JSON") from error
    card = ModelCard.from_plain(data)
    outputs = data.get("outputs")
    if outputs not in (DETECTIONS, RAW):
        raise ValueError("its metadata has no usable 'outputs'")
    return ExportedCard(card, outputs)
