"""The head of ATSS and FCOS: class, box and centre-ness predictors, shared by all levels.

Tian et al., "FCOS" (ICCV 2019), figure 2; ATSS (Zhang et al., CVPR 2020) has the same. With DyHead
as the shared branch there are no towers: the predictors sit on the pyramid itself (Dai et al., CVPR
2021, section 3.4).
"""

from torch import Tensor, nn

from dyhead.modeling.meta_arch.towers import Scale, build_predictor, build_tower, initialise_head


class DenseHead(nn.Module):
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
        predictor_init_std: standard deviation of the predictors' weights: see `initialise_head`.
        box_init: first value of all box deltas, on average: the box predictor's bias.
        quality_on_box_tower: the centre-ness comes from the box tower, else from the class tower.

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
        box_init: float = 0.0,
        quality_on_box_tower: bool = True,
    ) -> None:
        super().__init__()
        self.quality_on_box_tower = quality_on_box_tower
        self.cls_tower = build_tower(in_channels, channels, num_convs, use_gn)
        self.bbox_tower = build_tower(in_channels, channels, num_convs, use_gn)
        width = channels if num_convs > 0 else in_channels
        size = predictor_kernel_size
        self.cls_logits = build_predictor(width, num_anchors * num_classes, size)
        self.bbox_pred = build_predictor(width, num_anchors * 4, size)
        self.centerness = build_predictor(width, num_anchors, size)
        self.scales = nn.ModuleList(Scale() for _ in range(num_levels))
        initialise_head(
            (self.cls_tower, self.bbox_tower),
            (self.cls_logits, self.bbox_pred, self.centerness),
            predictor_init_std=predictor_init_std,
            prior_prob=prior_prob,
        )
        nn.init.constant_(self.bbox_pred.get_parameter("bias"), box_init)

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
            class_feature, box_feature = self.cls_tower(feature), self.bbox_tower(feature)
            logits.append(self.cls_logits(class_feature))
            deltas.append(scale(self.bbox_pred(box_feature)))
            quality_feature = box_feature if self.quality_on_box_tower else class_feature
            centerness.append(self.centerness(quality_feature))
        return logits, deltas, centerness
