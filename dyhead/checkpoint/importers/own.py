"""The project's own checkpoints."""

from dyhead.checkpoint.importers.imported import Imported, Weights

FPN = "backbone.fpn."
BLOCKS = "backbone.blocks."


def matches(weights: Weights) -> bool:
    """Tell whether these are weights under the project's own names."""
    return any(name.startswith((FPN, BLOCKS)) for name in weights)


def convert(weights: Weights) -> Imported:
    """Take them as they are; the run that wrote them had its options in its config."""
    return Imported("DyHead", dict(weights))
