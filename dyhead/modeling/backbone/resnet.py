"""ResNet and ResNeXt as the host builds them, and with deformable stages on either host."""

from typing import Any

from dyhead.d2.config import CfgNode
from dyhead.d2.layers import CNNBlockBase, ShapeSpec
from dyhead.d2.modeling import ResNet, build_resnet_backbone
from dyhead.d2.modeling.backbone.resnet import BasicStem, BottleneckBlock
from dyhead.errors import UserError
from dyhead.modeling.backbone.deform_bottleneck import DeformBottleneckBlock

_BLOCKS_PER_STAGE = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def build_resnet(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Build the ResNet that `cfg.MODEL.RESNETS` describes, frozen by MODEL.BACKBONE.FREEZE_AT.

    It is the host's own unless a stage of DEFORM_ON_PER_STAGE is on, and has the same state-dict
    keys as Detectron2's in any case.

    Raises:
        UserError: the options of a ResNet with deformable stages do not go together.
    """
    options = cfg.MODEL.RESNETS
    if not any(options.DEFORM_ON_PER_STAGE):
        return build_resnet_backbone(cfg, input_shape)
    _check_deformable(options)
    stem = BasicStem(input_shape.channels or 3, options.STEM_OUT_CHANNELS, options.NORM)
    return ResNet(
        stem,
        [_stage(options, index) for index in range(4)],
        out_features=options.OUT_FEATURES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


def _stage(options: CfgNode, index: int) -> list[CNNBlockBase]:
    """The blocks of "res2" (index 0) to "res5" (index 3)."""
    num_blocks = _BLOCKS_PER_STAGE[options.DEPTH][index]
    out_channels = options.RES2_OUT_CHANNELS << index
    dilation = options.RES5_DILATION if index == 3 else 1
    first_stride = 1 if index == 0 or dilation == 2 else 2
    block_class: type[CNNBlockBase] = BottleneckBlock
    deformable: dict[str, Any] = {}
    if options.DEFORM_ON_PER_STAGE[index]:
        block_class = DeformBottleneckBlock
        deformable["deform_modulated"] = options.DEFORM_MODULATED
        deformable["deform_num_groups"] = options.DEFORM_NUM_GROUPS
    return ResNet.make_stage(
        block_class,
        num_blocks,
        in_channels=out_channels // 2 if index else options.STEM_OUT_CHANNELS,
        out_channels=out_channels,
        stride_per_block=[first_stride] + [1] * (num_blocks - 1),
        bottleneck_channels=options.NUM_GROUPS * options.WIDTH_PER_GROUP << index,
        num_groups=options.NUM_GROUPS,
        norm=options.NORM,
        stride_in_1x1=options.STRIDE_IN_1X1,
        dilation=dilation,
        **deformable,
    )


def _check_deformable(options: CfgNode) -> None:
    if len(options.DEFORM_ON_PER_STAGE) != 4:
        raise UserError(
            f"MODEL.RESNETS.DEFORM_ON_PER_STAGE {list(options.DEFORM_ON_PER_STAGE)} must say True"
            " or False for each of the four stages res2 to res5."
        )
    if options.DEPTH not in _BLOCKS_PER_STAGE:
        depths = ", ".join(map(str, _BLOCKS_PER_STAGE))
        raise UserError(
            f"MODEL.RESNETS.DEPTH {options.DEPTH} has no deformable stages: set it to one of"
            f" {depths}, or all of MODEL.RESNETS.DEFORM_ON_PER_STAGE to False."
        )
    if options.RES5_DILATION not in (1, 2):
        raise UserError(f"MODEL.RESNETS.RES5_DILATION {options.RES5_DILATION} must be 1 or 2.")
    width = options.NUM_GROUPS * options.WIDTH_PER_GROUP
    if options.DEFORM_NUM_GROUPS < 1 or width % options.DEFORM_NUM_GROUPS:
        raise UserError(
            f"MODEL.RESNETS.DEFORM_NUM_GROUPS {options.DEFORM_NUM_GROUPS} must divide"
            f" NUM_GROUPS * WIDTH_PER_GROUP = {width}."
        )
