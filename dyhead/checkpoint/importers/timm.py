"""Weights of whole models of timm, for the model that timm makes features with."""

import re
from collections.abc import Collection
from typing import Any

from dyhead.checkpoint.importers.imported import Imported, Weights, is_counter

BACKBONE = "model."  # of the names in `TimmBackbone`
_IN_DETECTOR = re.compile(rf"(?:.*\.bottom_up\.)?{re.escape(BACKBONE)}(.+)")
_FLATTENED = re.compile(r"^(\w+)_(\d+)\.")
_FITTING_SHARE = 0.5


def matches(weights: Weights, model_names: Collection[str]) -> bool:
    """Tell whether a detector on a backbone of timm finds its weights under timm's names.

    Args:
        weights: of the file.
        model_names: names of the detector's, or its backbone's, weights.
    """
    wanted = [name for name in own_names(model_names) if not is_counter(name)]
    found = sum(file_name(name, weights) in weights for name in wanted)
    return bool(wanted) and found >= _FITTING_SHARE * len(wanted)


def convert(weights: Weights, model_names: Collection[str]) -> Imported:
    """Rename to what the model's features are computed from.

    Left out is what comes behind them: the classifier, and stages that no feature needs.
    """
    own = {file_name(name, weights): name for name in own_names(model_names)}
    parts = {_part(theirs, ours) for theirs, ours in own.items()}
    kept = {name: w for name, w in weights.items() if parts & set(_parts(name))}
    renamed = {BACKBONE + own.get(name, name): weight for name, weight in kept.items()}
    left_out = [name for name in weights if name not in kept]
    return Imported("timm", renamed, is_backbone=True, left_out=left_out)


def pixels_of(facts: Any) -> dict[str, Any]:
    """Return what the config has to say of pixels for weights that timm knows.

    Args:
        facts: their `PretrainedCfg`: `mean` and `std` of the colours red, green and blue, 0 to 1.
    """
    mean, std = ([round(255 * value, 3) for value in each] for each in (facts.mean, facts.std))
    return {"INPUT.FORMAT": "RGB", "MODEL.PIXEL_MEAN": mean, "MODEL.PIXEL_STD": std}


def own_names(model_names: Collection[str]) -> list[str]:
    """Return the names below `TimmBackbone.model`; none for a detector on another backbone."""
    found = map(_IN_DETECTOR.fullmatch, model_names)
    return [match[1] for match in found if match]


def file_name(own: str, weights: Collection[str]) -> str:
    """Return timm's name in a file of the whole model for a name in the model with features.

    To get at features, timm takes the stages out of their list ("stages_0.x" for "stages.0.x"), or
    wraps the model ("model.x" for "x"), or leaves all as it is.
    """
    forms = (own, _FLATTENED.sub(r"\1.\2.", own), own.removeprefix("model."))
    return next((form for form in forms if form in weights), own)


def _part(theirs: str, ours: str) -> str:
    """Return the beginning of a file's name that a part of the model with features stands for."""
    return _parts(theirs)[1 if _FLATTENED.match(ours) and theirs != ours else 0]


def _parts(name: str) -> tuple[str, str]:
    first, _, rest = name.partition(".")
    return first, f"{first}.{rest.partition('.')[0]}"
