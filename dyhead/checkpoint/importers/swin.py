"""ImageNet weights of Swin Transformers: Swin's own files, timm's and torchvision's names."""

import re
from collections.abc import Callable

from dyhead.checkpoint.importers.imported import RGB_NORMALISED, Imported, Weights, split_off

_CLASSIFIER = ("head.", "norm.")


def matches_official(weights: Weights) -> bool:
    """Tell whether these are weights under the names of Swin's own code."""
    return {"patch_embed.proj.weight", "layers.0.downsample.reduction.weight"} <= weights.keys()


def convert_official(weights: Weights) -> Imported:
    """Take them as they are, without the classifier."""
    return _convert(weights, "Swin Transformer", lambda name: name)


def matches_timm(weights: Weights) -> bool:
    """Tell whether these are weights of timm's Swin, whole or as a feature extractor."""
    names = {name.replace("layers_", "layers.", 1) for name in weights}
    return {"patch_embed.proj.weight", "layers.1.downsample.reduction.weight"} <= names


def convert_timm(weights: Weights) -> Imported:
    """Rename: timm counts the merging of patches as the beginning of a stage, not as its end."""
    return _convert(weights, "timm Swin Transformer", timm_to_own)


def timm_to_own(name: str) -> str:
    """Return the official name of one of timm's weights."""
    name = re.sub(r"^layers_(\d)\.", r"layers.\1.", name)
    return re.sub(
        r"^layers\.(\d)\.downsample\.",
        lambda found: f"layers.{int(found[1]) - 1}.downsample.",
        name,
    )


def matches_torchvision(weights: Weights) -> bool:
    """Tell whether these are weights of torchvision's Swin."""
    return {"features.0.0.weight", "features.2.reduction.weight"} <= weights.keys()


def convert_torchvision(weights: Weights) -> Imported:
    """Rename: torchvision numbers stages and mergings together."""
    return _convert(weights, "torchvision Swin Transformer", torchvision_to_own)


def torchvision_to_own(name: str) -> str:
    """Return the official name of one of torchvision's weights."""
    name = re.sub(r"^features\.0\.0\.", "patch_embed.proj.", name)
    name = re.sub(r"^features\.0\.2\.", "patch_embed.norm.", name)

    def stage(found: re.Match[str]) -> str:
        index = int(found[1])
        if index % 2 == 0:
            return f"layers.{index // 2 - 1}.downsample.{found[2]}"
        return f"layers.{index // 2}.blocks.{found[2]}"

    name = re.sub(r"^features\.(\d)\.(.*)", stage, name)
    return name.replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")


def _convert(weights: Weights, source: str, rename: Callable[[str], str]) -> Imported:
    kept, left_out = split_off(weights, _CLASSIFIER)
    own = {rename(name): weight for name, weight in kept.items()}
    needs = dict(RGB_NORMALISED)
    return Imported(source, own, is_backbone=True, requirements=needs, left_out=left_out)
