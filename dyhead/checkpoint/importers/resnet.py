"""ImageNet weights of ResNets: torchvision's and timm's names, and Caffe's of the MSRA models."""

import re

import torch
from torch import Tensor

from dyhead.checkpoint.importers.imported import BGR_255, RGB_NORMALISED, Imported, Weights

_FROZEN_EPSILON = 1e-5  # that Detectron2's frozen normalisation adds to the variance
_CAFFE_CONVOLUTIONS = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
_CAFFE_KINDS = {"w": "weight", "b": "bias", "bn_s": "norm.weight", "bn_b": "norm.bias"}


def matches(weights: Weights) -> bool:
    """Whether these are ImageNet weights under the names that torchvision and timm share."""
    return {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight"} <= weights.keys()


def convert(weights: Weights) -> Imported:
    """Rename to Detectron2's names; the classifier is left out."""
    own = {to_own(name): w for name, w in weights.items() if not name.startswith("fc.")}
    needs = {"MODEL.RESNETS.STRIDE_IN_1X1": False, **RGB_NORMALISED}
    return Imported("torchvision or timm ResNet", own, is_backbone=True, requirements=needs)


def to_own(name: str) -> str:
    """Detectron2's name of a weight; "layer1.0.bn2.bias" is "res2.0.conv2.norm.bias"."""
    name = re.sub(r"^conv1\.", "stem.conv1.", name)
    name = re.sub(r"^bn1\.", "stem.conv1.norm.", name)
    name = re.sub(r"^layer(\d)\.", lambda found: f"res{int(found[1]) + 1}.", name)
    name = name.replace(".downsample.0.", ".shortcut.").replace(".downsample.1.", ".shortcut.norm.")
    return re.sub(r"\.bn(\d)\.", r".conv\1.norm.", name)


def matches_caffe(weights: Weights) -> bool:
    """Whether these are the MSRA ResNets, such as R-50.pkl."""
    return {"conv1_w", "res2_0_branch2a_w"} <= weights.keys()


def convert_caffe(weights: Weights) -> Imported:
    """Rename to Detectron2's names; the normalisation layers' statistics are folded into them."""
    own: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if (renamed := caffe_to_own(name)) is not None:
            own[renamed] = weight
    for name in [name for name in own if name.endswith(".norm.weight")]:
        layer = name.removesuffix("weight")
        own[layer + "running_mean"] = torch.zeros_like(own[name])
        own[layer + "running_var"] = torch.full_like(own[name], 1 - _FROZEN_EPSILON)
    needs = {"MODEL.RESNETS.STRIDE_IN_1X1": True, **BGR_255}
    return Imported("MSRA ResNet", own, is_backbone=True, requirements=needs)


def caffe_to_own(name: str) -> str | None:
    """Detectron2's name of a blob; None for the classifier and the momenta."""
    if found := re.fullmatch(r"conv1_(w|b)", name):
        return f"stem.conv1.{_CAFFE_KINDS[found[1]]}"
    if found := re.fullmatch(r"res_conv1_(bn_s|bn_b)", name):
        return f"stem.conv1.{_CAFFE_KINDS[found[1]]}"
    found = re.fullmatch(r"res(\d)_(\d+)_branch(1|2[abc])_(w|b|bn_s|bn_b)", name)
    if found is None:
        return None
    convolution = _CAFFE_CONVOLUTIONS[found[3]]
    return f"res{found[1]}.{found[2]}.{convolution}.{_CAFFE_KINDS[found[4]]}"
