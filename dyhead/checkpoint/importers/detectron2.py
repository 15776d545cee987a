"""Checkpoints of Detectron2's own detectors that have a pyramid, and its zoo's backbones."""

from dyhead.checkpoint.importers.imported import Imported, Weights, split_off
from dyhead.checkpoint.importers.own import FPN

_FPN = "backbone."
_CLASSIFIER = ("linear.", "fc.", "stem.fc.")


def matches(weights: Weights) -> bool:
    """Tell whether these are weights of a Detectron2 detector without DyHead."""
    return any(name.startswith("backbone.bottom_up.") for name in weights)


def convert(weights: Weights) -> Imported:
    """Rename the pyramid to what DyHead wraps."""
    own = {
        FPN + name.removeprefix(_FPN) if name.startswith(_FPN) else name: weight
        for name, weight in weights.items()
    }
    return Imported("Detectron2", own)


def matches_backbone(weights: Weights) -> bool:
    """Tell whether these are ImageNet weights under Detectron2's names (torchvision/R-50.pkl)."""
    return {"stem.conv1.weight", "res2.0.conv1.weight"} <= weights.keys()


def convert_backbone(weights: Weights) -> Imported:
    """Take them as they are, without the classifier; the file does not tell of their training."""
    own, left_out = split_off(weights, _CLASSIFIER)
    return Imported("Detectron2's ImageNet", own, is_backbone=True, left_out=left_out)
