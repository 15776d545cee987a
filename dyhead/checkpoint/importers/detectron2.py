"""Checkpoints of Detectron2's own detectors, and of its model zoo, that have a pyramid."""

from dyhead.checkpoint.importers.imported import Imported, Weights
from dyhead.checkpoint.importers.own import FPN

_FPN = "backbone."


def matches(weights: Weights) -> bool:
    """Whether these are weights of a Detectron2 detector without DyHead."""
    return any(name.startswith("backbone.bottom_up.") for name in weights)


def convert(weights: Weights) -> Imported:
    """The pyramid is what DyHead wraps."""
    own = {
        FPN + name.removeprefix(_FPN) if name.startswith(_FPN) else name: weight
        for name, weight in weights.items()
    }
    return Imported("Detectron2", own)
