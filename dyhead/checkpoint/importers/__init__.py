"""Weights from elsewhere, recognised by their names and brought to the project's own."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from dyhead.checkpoint.importers import (
    detectron2,
    efficientnet,
    mmdetection,
    official,
    own,
    resnet,
    swin,
    timm,
)
from dyhead.checkpoint.importers.imported import Imported, Weights, is_counter, is_weight

__all__ = ["Imported", "import_weights", "is_counter", "is_weight", "official", "timm"]

_IMPORTERS: tuple[tuple[Callable[[Weights], bool], Callable[[Weights], Imported]], ...] = (
    (official.matches, official.convert),
    (own.matches, own.convert),
    (mmdetection.matches, mmdetection.convert),
    (detectron2.matches, detectron2.convert),
    (detectron2.matches_backbone, detectron2.convert_backbone),
    (resnet.matches, resnet.convert),
    (resnet.matches_caffe, resnet.convert_caffe),
    (swin.matches_official, swin.convert_official),
    (swin.matches_timm, swin.convert_timm),
    (swin.matches_torchvision, swin.convert_torchvision),
    (efficientnet.matches, efficientnet.convert),
)


def import_weights(state: Mapping[str, Any], model_names: Collection[str] = ()) -> Imported | None:
    """Recognise a state dict by its names and rename it.

    Args:
        state: names to tensors or arrays; anything else in it is left out.
        model_names: names of the weights of the model that they are for. One on a backbone of timm
            takes timm's files as they are, whatever other model of ours they would fit.

    Returns:
        the weights under the project's own names, or None if the names are of no known kind.
    """
    weights: dict[str, Tensor] = {}
    for name, value in state.items():
        name = name.removeprefix("module.")  # DistributedDataParallel's
        if is_weight(name) and (isinstance(value, Tensor) or hasattr(value, "__array__")):
            weights[name] = torch.as_tensor(value)
    if timm.matches(weights, model_names):
        return timm.convert(weights, model_names)
    for matches, convert in _IMPORTERS:
        if matches(weights):
            return convert(weights)
    return None
