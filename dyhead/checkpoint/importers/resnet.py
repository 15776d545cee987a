"""ImageNet weights of ResNets: torchvision's and timm's names, and Caffe's of the MSRA models."""

import re
from typing import Any

import torch

from dyhead.checkpoint.importers.imported import (
    BGR_255,
    RGB_NORMALISED,
    Imported,
    Weights,
    split_off,
)

_FROZEN_EPSILON = 1e-5  # that Detectron2's frozen normalisation adds to the variance
_CAFFE_CONVOLUTIONS = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
_CAFFE_KINDS = {
    "w": "weight",
    "b": "bias",
    "bn_s": "norm.weight",
    "bn_b": "norm.bias",
    "bn_rm": "norm.running_mean",
    "bn_riv": "norm.running_var",
    "gn_s": "norm.weight",
    "gn_b": "norm.bias",
}
_CAFFE_IGNORED = re.compile(r"(fc\d+|pred)_[wb]|.*_momentum")  # classifier, training state


def matches(weights: Weights) -> bool:
    """Tell whether these are ImageNet weights under the names that torchvision and timm share."""
    return {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight"} <= weights.keys()


def convert(weights: Weights) -> Imported:
    """Rename to Detectron2's names; the classifier is left out."""
    kept, left_out = split_off(weights, ("fc.",))
    own = {to_own(name): weight for name, weight in kept.items()}
    needs = {"MODEL.RESNETS.STRIDE_IN_1X1": False, **RGB_NORMALISED}
    source = "torchvision or timm ResNet"
    return Imported(source, own, is_backbone=True, requirements=needs, left_out=left_out)


def to_own(name: str) -> str:
    """Return Detectron2's name of a weight, as "res2.0.conv2.norm.bias" of "layer1.0.bn2.bias"."""
    name = re.sub(r"^conv1\.", "stem.conv1.", name)
    name = re.sub(r"^bn1\.", "stem.conv1.norm.", name)
    name = re.sub(r"^layer(\d)\.", lambda found: f"res{int(found[1]) + 1}.", name)
    name = name.replace(".downsample.0.", ".shortcut.").replace(".downsample.1.", ".shortcut.norm.")
    return re.sub(r"\.bn(\d)\.", r".conv\1.norm.", name)


def matches_caffe(weights: Weights) -> bool:
    """Tell whether these are the MSRA ResNets, such as R-50.pkl."""
    return {"conv1_w", "res2_0_branch2a_w"} <= weights.keys()


def convert_caffe(weights: Weights) -> Imported:
    """Rename to Detectron2's names, as far as they are a ResNet's.

    Batch normalisation without statistics has had them folded into its weights.
    """
    own = {
        caffe_to_own(name): weight
        for name, weight in weights.items()
        if not _CAFFE_IGNORED.fullmatch(name)
    }
    has_group_norm = any(name.endswith("_gn_s") for name in weights)
    for name in [n for n in own if n.endswith(".norm.weight") and not has_group_norm]:
        layer = name.removesuffix("weight")
        own.setdefault(layer + "running_mean", torch.zeros_like(own[name]))
        own.setdefault(layer + "running_var", torch.full_like(own[name], 1 - _FROZEN_EPSILON))
    needs = _caffe_requirements(own, has_group_norm)
    return Imported("MSRA or Caffe2 ResNet", own, is_backbone=True, requirements=needs)


def _caffe_requirements(own: Weights, has_group_norm: bool) -> dict[str, Any]:
    """Return the options in Detectron2's configs for MSRA's ResNets, FAIR's with GN or groups."""
    convolution = own.get("res2.0.conv2.weight")
    is_grouped = convolution is not None and convolution.shape[0] != convolution.shape[1]
    needs = {"MODEL.RESNETS.STRIDE_IN_1X1": not (has_group_norm or is_grouped), **BGR_255}
    return needs | {"MODEL.PIXEL_STD": [57.375, 57.12, 58.395]} if is_grouped else needs


def caffe_to_own(name: str) -> str:
    """Return Detectron2's name of a blob; a name that is none of a ResNet's stays."""
    found = re.fullmatch(r"(?:res_)?conv1_(w|b|[bg]n_[a-z]+)", name)
    if found and found[1] in _CAFFE_KINDS:
        return f"stem.conv1.{_CAFFE_KINDS[found[1]]}"
    found = re.fullmatch(r"res(\d)_(\d+)_branch(1|2[abc])_(w|b|[bg]n_[a-z]+)", name)
    if found is None or found[4] not in _CAFFE_KINDS:
        return name
    convolution = _CAFFE_CONVOLUTIONS[found[3]]
    return f"res{found[1]}.{found[2]}.{convolution}.{_CAFFE_KINDS[found[4]]}"
