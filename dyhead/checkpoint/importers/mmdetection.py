"""Checkpoints of MMDetection's ATSS with DyHead: its names, and what they need of the config."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dyhead.checkpoint.importers import resnet
from dyhead.checkpoint.importers.imported import BGR_255, RGB_NORMALISED, Imported, Weights
from dyhead.checkpoint.importers.official import BLOCK_OPTIONS, count_blocks
from dyhead.checkpoint.importers.own import BLOCKS, FPN

_PARTS = {
    "spatial_conv_high.conv": "spatial_attention.coarser",
    "spatial_conv_mid.conv": "spatial_attention.same",
    "spatial_conv_low.conv": "spatial_attention.finer",
    "spatial_conv_high.norm": "spatial_attention.coarser.norm",
    "spatial_conv_mid.norm": "spatial_attention.same.norm",
    "spatial_conv_low.norm": "spatial_attention.finer.norm",
    "spatial_conv_offset": "spatial_attention.offset_and_mask",
    "scale_attn_module.1": "scale_attention.score",
    "task_attn_module.conv1.conv": "task_attention.squeeze",
    "task_attn_module.conv2.conv": "task_attention.expand",
}
_HEAD = {"atss_cls": "cls_logits", "atss_reg": "bbox_pred", "atss_centerness": "centerness"}
_DETECTOR_OPTIONS: dict[str, Any] = {
    **BLOCK_OPTIONS,
    "MODEL.FPN.RELU_BEFORE_P7": False,
    "MODEL.ATSS.RANK_BY_CENTERNESS": False,
    "MODEL.ATSS.CLIP_BEFORE_NMS": True,
}


def matches(weights: Weights) -> bool:
    """Tell whether these are weights of MMDetection's ATSS with DyHead."""
    return any(name.startswith("neck.1.dyhead_blocks.") for name in weights)


def convert(weights: Weights) -> Imported:
    """Rename, reorder what Swin's port keeps in another order, and tell the port's options."""
    num_levels = len({n for n in weights if re.match(r"neck\.0\.lateral_convs\.\d+\.conv\.w", n)})
    own: dict[str, Tensor] = {}
    reshaped = []
    for name, weight in weights.items():
        renamed = to_own(name, first_level=6 - num_levels)
        own[renamed] = _to_own_form(renamed, weight)
        if own[renamed] is not weight:
            reshaped.append(renamed)
    imported = Imported("MMDetection", own, requirements=_requirements(own), reshaped=reshaped)
    _add_zero_biases(own)
    return imported


def to_own(name: str, first_level: int = 3) -> str:
    """Return our name of one of MMDetection's weights.

    Args:
        name: MMDetection's.
        first_level: number of the pyramid's finest level, 3 for P3.
    """
    if name.startswith("backbone."):
        return f"{FPN}bottom_up.{_backbone_to_own(name.removeprefix('backbone.'))}"
    if found := re.fullmatch(r"neck\.1\.dyhead_blocks\.(\d+)\.(.+)\.(weight|bias)", name):
        part = _PARTS.get(found[2], found[2])
        return f"{BLOCKS}{found[1]}.{part}.{found[3]}"
    if found := re.fullmatch(r"neck\.0\.(lateral|fpn)_convs\.(\d)\.conv\.(weight|bias)", name):
        return f"{FPN}{_pyramid_part(found[1], int(found[2]), first_level)}.{found[3]}"
    if found := re.fullmatch(r"bbox_head\.(\w+)\.(.+)", name):
        return f"head.{_HEAD.get(found[1], found[1])}.{found[2]}"
    return name


def _pyramid_part(kind: str, index: int, first_level: int) -> str:
    level = first_level + index
    if kind == "lateral":
        return f"fpn_lateral{level}"
    return f"fpn_output{level}" if level <= 5 else f"top_block.p{level}"


def _backbone_to_own(name: str) -> str:
    """Rename a backbone: ResNets have torchvision's names, Swin has names of its own."""
    name = name.replace("patch_embed.projection.", "patch_embed.proj.")
    name = re.sub(r"^stages\.", "layers.", name).replace(".attn.w_msa.", ".attn.")
    name = name.replace(".ffn.layers.0.0.", ".mlp.fc1.").replace(".ffn.layers.1.", ".mlp.fc2.")
    return resnet.to_own(name)


def _to_own_form(name: str, weight: Tensor) -> Tensor:
    """Return the weight itself, or its values in the form that our module has."""
    if ".task_attention." in name and weight.dim() == 4:
        return weight.flatten(1)  # a 1x1 convolution is a linear layer
    if ".downsample.reduction." in name:
        return official_merging_order(weight)
    if ".downsample.norm." in name:
        return official_merging_order(weight[None])[0]
    return weight


def official_merging_order(weight: Tensor) -> Tensor:
    """Reorder the inputs (O, 4 * C) of Swin's merging of 2 x 2 patches.

    MMDetection keeps, for each channel, its four positions row by row; the official code keeps, for
    each of the four positions column by column, its channels.
    """
    by_position = weight.unflatten(1, (-1, 4)).transpose(1, 2)  # (O, 4, C)
    return by_position[:, [0, 2, 1, 3]].flatten(1)


def _requirements(own: Mapping[str, Tensor]) -> dict[str, Any]:
    needs = {"MODEL.DYHEAD.NUM_CONVS": count_blocks(own), **_DETECTOR_OPTIONS}
    kernel_size = own["head.cls_logits.weight"].shape[-1] if "head.cls_logits.weight" in own else 1
    needs["MODEL.ATSS.PREDICTOR_KERNEL_SIZE"] = kernel_size
    if kernel_size == 3:  # the "simple" setting
        needs |= {"MODEL.DYHEAD.SIZE_DIVISIBILITY": 32, "MODEL.ANCHOR_GENERATOR.OFFSET": 0.0}
        return needs | {"MODEL.RESNETS.STRIDE_IN_1X1": False, **RGB_NORMALISED}
    needs |= {"MODEL.DYHEAD.SIZE_DIVISIBILITY": 0, "MODEL.ANCHOR_GENERATOR.OFFSET": 0.5}
    if FPN + "bottom_up.patch_embed.proj.weight" in own:
        return needs | RGB_NORMALISED
    return needs | {"MODEL.RESNETS.STRIDE_IN_1X1": True, **BGR_255}


def _add_zero_biases(own: dict[str, Tensor]) -> None:
    """Add the bias of zero that a deformable convolution without bias has."""
    for name in list(own):
        if found := re.fullmatch(r"(.+\.spatial_attention\.(same|finer|coarser))\.weight", name):
            own.setdefault(f"{found[1]}.bias", own[name].new_zeros(len(own[name])))
