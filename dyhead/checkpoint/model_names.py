"""Fits imported weights to a model's names."""

from collections.abc import Collection

from torch import Tensor

from dyhead.checkpoint.importers import Imported
from dyhead.checkpoint.importers.own import FPN

_PLAIN_FPN = "backbone."  # of a detector without DyHead
_BOTTOM_UP = "bottom_up."
_FIRST_WEIGHTS = ("stem.conv1.weight", "patch_embed.proj.weight")  # of a backbone without pyramid


def fit_names(imported: Imported, model_names: Collection[str]) -> dict[str, Tensor]:
    """Return the weights under the names of a model, whichever way its backbone is wrapped.

    A backbone's weights go to the model's bottom-up backbone. A detector's pyramid is looked for
    where DyHead wraps it, or where Detectron2 has it.
    """
    if imported.is_backbone:
        is_bare = any(name in model_names for name in imported.weights)
        prefix = "" if is_bare else bottom_up_prefix(model_names)
        return {prefix + name: weight for name, weight in imported.weights.items()}
    if any(name.startswith(FPN) for name in model_names):
        return imported.weights
    return {
        _PLAIN_FPN + name.removeprefix(FPN) if name.startswith(FPN) else name: weight
        for name, weight in imported.weights.items()
    }


def bottom_up_prefix(model_names: Collection[str]) -> str:
    """Find the prefix of a bottom-up backbone's names in a model; "" if there is none."""
    for name in model_names:
        before, found, _ = name.partition(_BOTTOM_UP)
        if found:
            return before + found
    for name in model_names:
        for first in _FIRST_WEIGHTS:
            if name.endswith(first):
                return name.removesuffix(first)
    return ""
