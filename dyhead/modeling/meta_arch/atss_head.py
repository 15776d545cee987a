"""The predictors of ATSS, shared by all pyramid levels.

Zhang et al., "Bridging the Gap Between Anchor-based and Anchor-free Detection via Adaptive
Training Sample Selection" (CVPR 2020). With DyHead as the shared branch there are no towers: the
predictors sit on the pyramid itself (Dai et al., CVPR 2021, section 3.4).
"""

import math

import torch
from torch import Tensor, nn

from dyhead.errors import UserError

GROUPS = 32


class Scale(nn.Module):
    """Multiplication by one learned number."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Scale a tensor of any shape."""
        return x * self.scale


def build_tower(in_channels: int, channels: int, num_convs: int, use_gn: bool) -> nn.Sequential:
    """`num_convs` times a 3x3 convolution, GroupNorm if wanted, and ReLU; none is the identity."""
    layers: list[nn.Module] = []
    for i in range(num_convs):
        layers.append(nn.Conv2d(in_channels if i == 0 else channels, channels, 3, padding=1))
        if use_gn:
            layers.append(nn.GroupNorm(GROUPS, channels))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def initialise_convolutions(module: nn.Module, std: float) -> None:
    """Normal weights and zero biases for every convolution in `module`."""
    for convolution in module.modules():
        if isinstance(convolution, nn.Conv2d):
            nn.init.normal_(convolution.weight, std=std)
            nn.init.zeros_(convolution.get_parameter("bias"))


class ATSSHead(nn.Module):
    """Class, box and centre-ness predictors, with an optional tower for class and for box.

    Args:
        in_channels: channels of every feature map.
        num_levels: number of feature maps; each has its own learned factor on the box deltas.
        num_classes: K.
        num_anchors: A, anchors per location.
        num_convs: convolutions per tower; 0 for no towers.
        channels: channels of the towers.
        use_gn: GroupNorm in the towers.
        predictor_kernel_size: 1, or 3 for predictors that see a position's neighbours too.
        prior_prob: class score of every anchor at initialisation (Lin et al., ICCV 2017, 3.3).
        predictor_init_std: standard deviation of the predictors' initial weights. DyHead's first
            outputs are an order of magnitude smaller than a pyramid's: with the usual 0.01 the
            classes of a detector trained from random weights hardly part for hundreds of steps.

    Raises:
        UserError: GroupNorm is wanted in towers whose channels do not fall into 32 groups, or the
            predictors' kernel size is even.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_levels: int,
        num_classes: int,
        num_anchors: int = 1,
        num_convs: int = 0,
        channels: int = 256,
        use_gn: bool = True,
        predictor_kernel_size: int = 1,
        prior_prob: float = 0.01,
        predictor_init_std: float = 0.01,
    ) -> None:
        super().__init__()
        if num_convs > 0 and use_gn and channels % GROUPS:
            raise UserError(
                f"MODEL.ATSS.CHANNELS={channels} is no multiple of {GROUPS}, which GroupNorm"
                " needs: change it, or set MODEL.ATSS.USE_GN False."
            )
        if predictor_kernel_size < 1 or predictor_kernel_size % 2 == 0:
            raise UserError(
                f"MODEL.ATSS.PREDICTOR_KERNEL_SIZE is {predictor_kernel_size}: set it to 1 or 3."
            )
        self.cls_tower = build_tower(in_channels, channels, num_convs, use_gn)
        self.bbox_tower = build_tower(in_channels, channels, num_convs, use_gn)
        tower_channels = channels if num_convs > 0 else in_channels
        kernel_size, padding = predictor_kernel_size, predictor_kernel_size // 2

        def build_predictor(out_channels: int) -> nn.Conv2d:
            return nn.Conv2d(tower_channels, out_channels, kernel_size, padding=padding)

        self.cls_logits = build_predictor(num_anchors * num_classes)
        self.bbox_pred = build_predictor(num_anchors * 4)
        self.centerness = build_predictor(num_anchors)
        self.scales = nn.ModuleList(Scale() for _ in range(num_levels))
        for tower in (self.cls_tower, self.bbox_tower):
            initialise_convolutions(tower, std=0.01)
        for predictor in (self.cls_logits, self.bbox_pred, self.centerness):
            initialise_convolutions(predictor, std=predictor_init_std)
        prior_logit = -math.log((1 - prior_prob) / prior_prob)
        nn.init.constant_(self.cls_logits.get_parameter("bias"), prior_logit)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Predict on every level, finest first.

        Args:
            features: per level (N, in_channels, H, W).

        Returns:
            Class logits (N, A * K, H, W), box deltas (N, A * 4, H, W) and centre-ness logits
            (N, A, H, W), a list of each over the levels.
        """
        logits, deltas, centerness = [], [], []
        for feature, scale in zip(features, self.scales, strict=True):
            box_feature = self.bbox_tower(feature)
            logits.append(self.cls_logits(self.cls_tower(feature)))
            deltas.append(scale(self.bbox_pred(box_feature)))
            centerness.append(self.centerness(box_feature))
        return logits, deltas, centerness
