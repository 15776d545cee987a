"""The head of RepPoints: points in two stages, and classes seen at the points.

Yang et al., ICCV 2019, section 4 and figure 2. With DyHead as the shared branch there are no
towers.

Shape letters: N images, C and O channels, P points of a set, H x W locations of a level, K classes.
"""

import math

import torch
from torch import Tensor, nn

from dyhead.errors import UserError
from dyhead.modeling.meta_arch.reppoints_boxes import PseudoBox, scale_gradient
from dyhead.modeling.meta_arch.towers import HIDDEN_INIT_STD, build_tower, initialise_head
from dyhead.ops import modulated_deform_conv2d


class PointConvolution(nn.Module):
    """A deformable convolution (DCNv1, without bias) that samples at offsets given from outside."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.padding = kernel_size // 2
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        nn.init.normal_(self.weight, std=HIDDEN_INIT_STD)

    def forward(self, feature: Tensor, offset: Tensor) -> Tensor:
        """Convolve (N, C, H, W) to (N, O, H, W).

        Args:
            feature: what to sample.
            offset: (N, 2P, H, W), (dy, dx) per point in pixels of `feature`, from the regular grid.
        """
        mask = torch.ones_like(offset[:, ::2])
        return modulated_deform_conv2d(feature, offset, mask, self.weight, padding=self.padding)


class RepPointsHead(nn.Module):
    """Classes, initial boxes and refined boxes of every location.

    Points are pairs (y, x), given by their offsets from the location in strides, which are the
    pixels of the feature map.

    Args:
        in_channels: channels of every feature map.
        num_classes: K.
        num_convs: convolutions per tower; 0 for no towers.
        channels: channels of the towers.
        use_gn: GroupNorm in the towers.
        num_points: P, the square of an odd number above 1.
        point_channels: channels between the features and the predictors.
        transform: how points become a box, see `PseudoBox`.
        moment_mul: see `PseudoBox`.
        gradient_mul: share of the gradient that flows from what is sampled at the initial points
            back into them.
        prior_prob: class score of every location at initialisation (Lin et al., ICCV 2017, 3.3).
        predictor_init_std: standard deviation of the predictors' initial weights.

    Raises:
        UserError: the number of points is no such square, there is no such transform, or
            GroupNorm is wanted in towers whose channels do not fall into 32 groups.
    """

    grid: Tensor

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        num_convs: int = 0,
        channels: int = 256,
        use_gn: bool = True,
        num_points: int = 9,
        point_channels: int = 256,
        transform: str = "moment",
        moment_mul: float = 0.01,
        gradient_mul: float = 0.1,
        prior_prob: float = 0.01,
        predictor_init_std: float = 0.01,
    ) -> None:
        super().__init__()
        side = points_per_side(num_points)
        self.gradient_mul = gradient_mul
        self.cls_tower = build_tower(in_channels, channels, num_convs, use_gn)
        self.points_tower = build_tower(in_channels, channels, num_convs, use_gn)
        tower_channels = channels if num_convs > 0 else in_channels

        self.cls_conv = PointConvolution(tower_channels, point_channels, side)
        self.cls_logits = nn.Conv2d(point_channels, num_classes, 1)
        self.init_conv = nn.Conv2d(tower_channels, point_channels, 3, padding=1)
        self.init_points = nn.Conv2d(point_channels, 2 * num_points, 1)
        self.refine_conv = PointConvolution(tower_channels, point_channels, side)
        self.refine_points = nn.Conv2d(point_channels, 2 * num_points, 1)
        self.pseudo_box = PseudoBox(transform, moment_mul)
        self.register_buffer("grid", regular_grid(side), persistent=False)

        initialise_head(
            (self.cls_tower, self.points_tower, self.init_conv),
            (self.cls_logits, self.init_points, self.refine_points),
            predictor_init_std=predictor_init_std,
            prior_prob=prior_prob,
        )

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Predict on every level, finest first.

        Args:
            features: per level (N, in_channels, H, W).

        Returns:
            Class logits (N, K, H, W), boxes of the initial points and boxes of the refined points,
            both (N, 4, H, W), XYXY from the location in strides; a list of each over the levels.
        """
        logits, initial_boxes, refined_boxes = [], [], []
        for feature in features:
            level_logits, initial, refined = self.predict_points(feature)
            logits.append(level_logits)
            initial_boxes.append(self.pseudo_box(initial))
            refined_boxes.append(self.pseudo_box(refined))
        return logits, initial_boxes, refined_boxes

    def predict_points(self, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict class logits (N, K, H, W), initial and refined points (N, 2P, H, W) of one level.

        The refined points move away from the initial ones, to which their loss doesn't reach but
        through the places that are sampled.
        """
        cls_feature, points_feature = self.cls_tower(feature), self.points_tower(feature)
        initial = at_least_float32(self.init_points(self.init_conv(points_feature).relu()))
        offset = scale_gradient(initial, self.gradient_mul) - self.grid
        logits = self.cls_logits(self.cls_conv(cls_feature, offset).relu())
        moves = self.refine_points(self.refine_conv(points_feature, offset).relu())
        return logits, initial, initial.detach() + moves


def points_per_side(num_points: int) -> int:
    """Return the kernel size of a convolution with as many taps as there are points.

    Raises:
        UserError: there is none that has a middle and an extent.
    """
    side = math.isqrt(max(num_points, 0))
    if side * side != num_points or side % 2 == 0 or side == 1:
        raise UserError(
            f"MODEL.REPPOINTS.NUM_POINTS is {num_points}: set it to the square of an odd number"
            " above 1, such as 9 or 25."
        )
    return side


def regular_grid(side: int) -> Tensor:
    """List the (y, x) that a plain convolution samples, (1, 2 * side ** 2, 1, 1)."""
    steps = torch.arange(side, dtype=torch.float32) - side // 2
    return torch.cartesian_prod(steps, steps).reshape(1, -1, 1, 1)


def at_least_float32(x: Tensor) -> Tensor:
    """Widen 16-bit numbers: positions need more digits than mixed precision leaves them."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
