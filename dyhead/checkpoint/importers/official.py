"""Checkpoints of the official DyHead code: its names, and what they need of the config."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dyhead.checkpoint.importers.imported import BGR_255, RGB_NORMALISED, Imported, Weights
from dyhead.checkpoint.importers.own import BLOCKS, FPN

_FPN = "backbone.backbone."
_TOWER = "backbone.dyhead_tower."
# Parts of a block: the official name and ours.
PARTS = {
    "DyConv.0.conv": "spatial_attention.coarser",
    "DyConv.1.conv": "spatial_attention.same",
    "DyConv.2.conv": "spatial_attention.finer",
    "DyConv.0.bn": "spatial_attention.coarser.norm",
    "DyConv.1.bn": "spatial_attention.same.norm",
    "DyConv.2.bn": "spatial_attention.finer.norm",
    "offset": "spatial_attention.offset_and_mask",
    "AttnConv.1": "scale_attention.score",
    "relu.fc.0": "task_attention.squeeze",
    "relu.fc.2": "task_attention.expand",
}
_OFFICIAL_PARTS = {ours: theirs for theirs, ours in PARTS.items()}

# How every official detector computes.
BLOCK_OPTIONS: dict[str, Any] = {
    "MODEL.DYHEAD.SCALE_AWARE": True,
    "MODEL.DYHEAD.SPATIAL_AWARE": True,
    "MODEL.DYHEAD.TASK_AWARE": True,
    "MODEL.DYHEAD.ORDER": "spatial_scale_task",
    "MODEL.DYHEAD.COARSER_OFFSETS": "flat_read",
    "MODEL.DYHEAD.HARD_SIGMOID": "official",
    "MODEL.DYHEAD.RESIDUAL": False,
}
_ATSS_OPTIONS = {
    "MODEL.ANCHOR_GENERATOR.OFFSET": 0.5,
    "MODEL.ATSS.PREDICTOR_KERNEL_SIZE": 1,
    "MODEL.ATSS.RANK_BY_CENTERNESS": True,
    "MODEL.ATSS.CLIP_BEFORE_NMS": False,
}


def matches(weights: Weights) -> bool:
    """Tell whether these are weights of the official code."""
    return any(name.startswith((_TOWER, _FPN)) for name in weights)


def convert(weights: Weights) -> Imported:
    """Rename, and tell the options that the official code has fixed."""
    own = {to_own(name): weight for name, weight in weights.items()}
    return Imported("official DyHead", own, requirements=_requirements(own))


def to_own(name: str) -> str:
    """Return our name of an official weight; names outside backbone and blocks are the same."""
    if name.startswith(_FPN):
        return FPN + name.removeprefix(_FPN)
    return _rename_block(name, _TOWER, BLOCKS, PARTS)


def to_official(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename own weights to the official names."""

    def rename(name: str) -> str:
        if name.startswith(FPN):
            return _FPN + name.removeprefix(FPN)
        return _rename_block(name, BLOCKS, _TOWER, _OFFICIAL_PARTS)

    return {rename(name): weight for name, weight in weights.items()}


def count_blocks(own: Mapping[str, Tensor]) -> int:
    """Count the DyHead blocks of weights under own names."""
    return len({name.split(".")[2] for name in own if name.startswith(BLOCKS)})


def _rename_block(name: str, old: str, new: str, parts: Mapping[str, str]) -> str:
    found = re.fullmatch(rf"{re.escape(old)}(\d+)\.(.+)\.(weight|bias)", name)
    if found is None or found[2] not in parts:
        return name
    return f"{new}{found[1]}.{parts[found[2]]}.{found[3]}"


def _requirements(own: Mapping[str, Tensor]) -> dict[str, Any]:
    needs = {"MODEL.DYHEAD.NUM_CONVS": count_blocks(own), **BLOCK_OPTIONS}
    needs |= {"MODEL.DYHEAD.BIAS": True, "MODEL.DYHEAD.SIZE_DIVISIBILITY": 0}
    if FPN + "top_block.p7.weight" in own:
        needs["MODEL.FPN.RELU_BEFORE_P7"] = True
    if "head.centerness.weight" in own:
        needs |= _ATSS_OPTIONS
    if FPN + "bottom_up.patch_embed.proj.weight" in own:
        return needs | RGB_NORMALISED
    return needs | BGR_255
