"""The DyHead block and its three attentions, on PyTorch and torchvision: usable in any project."""

from dyhead.layers.block import (
    SCALE_ATTENTIONS,
    SPATIAL_ATTENTIONS,
    TASK_ATTENTIONS,
    DyHeadBlock,
)
from dyhead.layers.options import BlockOptions
from dyhead.layers.recorder import BlockRecord, record_attentions
from dyhead.layers.scale_attention import ScaleAttention
from dyhead.layers.spatial_attention import DeformableBranch, SpatialAttention
from dyhead.layers.stack import DyHeadStack
from dyhead.layers.task_attention import DyReLU

__all__ = [
    "SCALE_ATTENTIONS",
    "SPATIAL_ATTENTIONS",
    "TASK_ATTENTIONS",
    "BlockOptions",
    "BlockRecord",
    "DeformableBranch",
    "DyHeadBlock",
    "DyHeadStack",
    "DyReLU",
    "ScaleAttention",
    "SpatialAttention",
    "record_attentions",
]
