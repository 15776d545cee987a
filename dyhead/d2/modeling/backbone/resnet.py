"""ResNet and ResNeXt of depth 18 to 152 (arXiv:1512.03385, arXiv:1611.05431).

Shapes: N images, C channels, H x W positions.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...config import CfgNode
from ...layers import CNNBlockBase, ShapeSpec
from .backbone import Backbone
from .build import BACKBONE_REGISTRY
from .resnet_blocks import BasicBlock, BasicStem, BottleneckBlock
from .resnet_stages import STAGE_NAMES, arguments_per_block, blocks_of_depth, number_of_stages

__all__ = [
    "BasicBlock",
    "BasicStem",
    "BottleneckBlock",
    "ResNet",
    "ResNetBlockBase",
    "build_resnet_backbone",
    "make_stage",
]

ResNetBlockBase = CNNBlockBase  # its older name


class ResNet(Backbone):
    """A stem and up to four stages of residual blocks, named "stem", "res2" ... "res5"."""

    def __init__(
        self,
        stem: CNNBlockBase,
        stages: Sequence[Sequence[CNNBlockBase]],
        num_classes: int | None = None,
        out_features: Sequence[str] | None = None,
        freeze_at: int = 0,
    ) -> None:
        """Put the parts together; stages that no output needs are left out.

        Args:
            stem: what comes before the first stage.
            stages: blocks of each stage, finest first.
            num_classes: number of classes of a classifier, the feature "linear"; None for none.
            out_features: names of the features to give; None for the last only.
            freeze_at: see `freeze`.

        Raises:
            ValueError: there is no feature of a name in `out_features`.
        """
        super().__init__()
        self.stem = stem
        self.num_classes = num_classes
        self._out_feature_strides = {"stem": stem.stride}
        self._out_feature_channels = {"stem": stem.out_channels}
        needed = number_of_stages(out_features, len(stages))
        self.stage_names = tuple(f"res{index + 2}" for index in range(needed))
        self._add_stages(stages[:needed])
        if num_classes is not None:
            self._add_classifier(num_classes)
        names = [name for name, _ in self.named_children() if name != "avgpool"]
        self._out_features = list(out_features or names[-1:])
        unknown = [name for name in self._out_features if name not in names]
        if unknown:
            raise ValueError(f"ResNet has no features {unknown}: use some of {', '.join(names)}.")
        self.freeze(freeze_at)

    def _add_stages(self, stages: Sequence[Sequence[CNNBlockBase]]) -> None:
        stride = self.stem.stride
        for name, blocks in zip(self.stage_names, stages, strict=True):
            self.add_module(name, nn.Sequential(*blocks))
            for block in blocks:
                stride *= block.stride
            self._out_feature_strides[name] = stride
            self._out_feature_channels[name] = blocks[-1].out_channels

    def _add_classifier(self, num_classes: int) -> None:
        last = (*self._out_feature_channels,)[-1]
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.linear = nn.Linear(self._out_feature_channels[last], num_classes)
        nn.init.normal_(self.linear.weight, std=0.01)  # arXiv:1706.02677, section 5.1

    @property
    def stages(self) -> list[nn.Module]:
        """The stages, finest first."""
        return [self.get_submodule(name) for name in self.stage_names]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (N, C, H, W) to the features asked for, by name.

        Raises:
            ValueError: `x` is not a batch of images.
        """
        if x.dim() != 4:
            raise ValueError(f"ResNet takes images of shape (N, C, H, W), got {tuple(x.shape)}.")
        features = {"stem": self.stem(x)}
        x = features["stem"]
        for name, stage in zip(self.stage_names, self.stages, strict=True):
            features[name] = x = stage(x)
        if self.num_classes is not None:
            features["linear"] = self.linear(torch.flatten(self.avgpool(x), 1))
        return {name: features[name] for name in self._out_features}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of every feature map asked for; the classifier gives none."""
        return {
            name: ShapeSpec(
                channels=self._out_feature_channels[name], stride=self._out_feature_strides[name]
            )
            for name in self._out_features
            if name != "linear"
        }

    def freeze(self, freeze_at: int = 0) -> "ResNet":
        """Stop training the first `freeze_at` parts: 1 is the stem, 2 the stem and "res2", etc."""
        if freeze_at >= 1:
            self.stem.freeze()
        for stage in self.stages[: max(freeze_at - 1, 0)]:
            for block in stage.children():
                cast(CNNBlockBase, block).freeze()
        return self

    @staticmethod
    def make_stage(
        block_class: type[CNNBlockBase],
        num_blocks: int,
        *,
        in_channels: int,
        out_channels: int,
        **kwargs: Any,
    ) -> list[CNNBlockBase]:
        """Make the blocks of one stage.

        Args:
            block_class: class of every block.
            num_blocks: how many.
            in_channels: channels of the stage's input.
            out_channels: channels of every block's output.
            kwargs: the other arguments of `block_class`; a name with the suffix `_per_block`
                holds one value per block.

        Raises:
            ValueError: a `_per_block` list has the wrong length, or its argument is given twice.
        """
        per_block = arguments_per_block(num_blocks, kwargs)
        inputs = [in_channels] + [out_channels] * (num_blocks - 1)
        return [
            block_class(in_channels=channels, out_channels=out_channels, **arguments)
            for channels, arguments in zip(inputs, per_block, strict=True)
        ]

    @staticmethod
    def make_default_stages(
        depth: int, block_class: type[CNNBlockBase] | None = None, **kwargs: Any
    ) -> list[list[CNNBlockBase]]:
        """Make the four stages of a ResNet of the paper.

        Args:
            depth: 18, 34, 50, 101 or 152.
            block_class: class of every block; None for the paper's.
            kwargs: the other arguments of `make_stage`, but for channels and strides.

        Raises:
            ValueError: no such depth.
        """
        blocks_per_stage = blocks_of_depth(depth)
        is_basic = depth < 50
        out_channels = 64 if is_basic else 256
        in_channels = 64
        stages = []
        for num_blocks, stride in zip(blocks_per_stage, (1, 2, 2, 2), strict=True):
            if not is_basic:
                kwargs["bottleneck_channels"] = out_channels // 4
            stages.append(
                ResNet.make_stage(
                    block_class or (BasicBlock if is_basic else BottleneckBlock),
                    num_blocks,
                    stride_per_block=[stride] + [1] * (num_blocks - 1),
                    in_channels=in_channels,
                    out_channels=out_channels,
                    **kwargs,
                )
            )
            in_channels, out_channels = out_channels, out_channels * 2
        return stages


make_stage = ResNet.make_stage


def __getattr__(name: str) -> Any:
    """Give, when it is asked for, the project's deformable block, which is built upon the host."""
    if name == "DeformBottleneckBlock":
        from dyhead.modeling.backbone.deform_bottleneck import DeformBottleneckBlock

        return DeformBottleneckBlock
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@BACKBONE_REGISTRY.register()
def build_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Build a ResNet from `cfg.MODEL.RESNETS` and `cfg.MODEL.BACKBONE.FREEZE_AT`.

    Raises:
        ValueError: the options contradict each other, or are not available on this host.
    """
    options = cfg.MODEL.RESNETS
    check_options(options)
    stem = BasicStem(input_shape.channels or 3, options.STEM_OUT_CHANNELS, options.NORM)
    return ResNet(
        stem,
        stages_from_options(options),
        out_features=options.OUT_FEATURES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


def check_options(options: CfgNode) -> None:
    """Refuse values of `cfg.MODEL.RESNETS` that no ResNet of this host can have."""
    if any(options.DEFORM_ON_PER_STAGE):
        raise ValueError(
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE: the embedded host's own ResNet has no deformable"
            " stages; set all four to False, or MODEL.BACKBONE.NAME to one of the DyHead backbones"
            " (MODEL.DYHEAD.NUM_CONVS 0 for the plain pyramid)."
        )
    if options.RES5_DILATION not in (1, 2):
        raise ValueError(f"MODEL.RESNETS.RES5_DILATION is {options.RES5_DILATION}: use 1 or 2.")
    if options.DEPTH not in (18, 34):
        return
    for key, value in (("RES2_OUT_CHANNELS", 64), ("RES5_DILATION", 1), ("NUM_GROUPS", 1)):
        if options[key] != value:
            raise ValueError(
                f"MODEL.RESNETS.{key} is {options[key]}: set it to {value}, the only value for a"
                f" ResNet-{options.DEPTH}."
            )


def stages_from_options(options: CfgNode) -> list[list[CNNBlockBase]]:
    """Make the four stages that `cfg.MODEL.RESNETS` describes."""
    is_basic = options.DEPTH in (18, 34)
    in_channels, out_channels = options.STEM_OUT_CHANNELS, options.RES2_OUT_CHANNELS
    bottleneck_channels = options.NUM_GROUPS * options.WIDTH_PER_GROUP
    stages = []
    for name, num_blocks in zip(STAGE_NAMES, blocks_of_depth(options.DEPTH), strict=True):
        dilation = options.RES5_DILATION if name == "res5" else 1
        first_stride = 1 if name == "res2" or dilation == 2 else 2
        arguments: dict[str, Any] = {
            "stride_per_block": [first_stride] + [1] * (num_blocks - 1),
            "norm": options.NORM,
        }
        if not is_basic:
            arguments["bottleneck_channels"] = bottleneck_channels
            arguments["num_groups"] = options.NUM_GROUPS
            arguments["stride_in_1x1"] = options.STRIDE_IN_1X1
            arguments["dilation"] = dilation
        stages.append(
            ResNet.make_stage(
                BasicBlock if is_basic else BottleneckBlock,
                num_blocks,
                in_channels=in_channels,
                out_channels=out_channels,
                **arguments,
            )
        )
        in_channels, out_channels = out_channels, out_channels * 2
        bottleneck_channels *= 2
    return stages
