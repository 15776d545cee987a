"""RetinaNet with predictors that may sit on the pyramid itself.

Detectron2's RetinaNet always has towers, and so has the official RetinaNet with DyHead; in the
paper DyHead takes their place (Dai et al., CVPR 2021, section 3.4).
"""

from typing import Any

from torch import Tensor, nn

from dyhead.d2.config import CfgNode, configurable
from dyhead.d2.modeling.meta_arch import META_ARCH_REGISTRY, RetinaNet
from dyhead.errors import UserError
from dyhead.modeling.meta_arch.atss import anchors_per_location
from dyhead.modeling.meta_arch.dense_detector import head_levels, warn_of_unused_features
from dyhead.modeling.meta_arch.dense_head import check_kernel_size
from dyhead.modeling.meta_arch.towers import (
    build_tower,
    initialise_convolutions,
    initialise_prior,
    shared_channels,
    tower_depth,
)


class PredictorHead(nn.Module):
    """Class and box predictors with optional towers; state-dict keys as Detectron2's head.

    Args:
        in_channels: channels of every feature map.
        num_classes: K.
        num_anchors: A, anchors per location.
        num_convs: convolutions per tower; 0 for no towers.
        use_gn: GroupNorm in the towers.
        predictor_kernel_size: 3 as Detectron2's, or 1.
        prior_prob: class score of every anchor at initialisation.
        predictor_init_std: standard deviation of the predictors' initial weights; see `DenseHead`.

    Raises:
        UserError: the predictors' kernel size is even, or GroupNorm does not fit the channels.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        num_anchors: int,
        num_convs: int = 0,
        use_gn: bool = False,
        predictor_kernel_size: int = 3,
        prior_prob: float = 0.01,
        predictor_init_std: float = 0.01,
    ) -> None:
        super().__init__()
        check_kernel_size(predictor_kernel_size)
        padding = predictor_kernel_size // 2
        self.cls_subnet = build_tower(in_channels, in_channels, num_convs, use_gn)
        self.bbox_subnet = build_tower(in_channels, in_channels, num_convs, use_gn)
        self.cls_score = nn.Conv2d(
            in_channels, num_anchors * num_classes, predictor_kernel_size, padding=padding
        )
        self.bbox_pred = nn.Conv2d(
            in_channels, num_anchors * 4, predictor_kernel_size, padding=padding
        )
        for tower in (self.cls_subnet, self.bbox_subnet):
            initialise_convolutions(tower, std=0.01)
        for predictor in (self.cls_score, self.bbox_pred):
            initialise_convolutions(predictor, std=predictor_init_std)
        initialise_prior(self.cls_score, prior_prob)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Class logits (N, A * K, H, W) and deltas (N, A * 4, H, W) of each level (N, C, H, W)."""
        logits = [self.cls_score(self.cls_subnet(level)) for level in features]
        deltas = [self.bbox_pred(self.bbox_subnet(level)) for level in features]
        return logits, deltas


@META_ARCH_REGISTRY.register()
class DyHeadRetinaNet(RetinaNet):
    """Detectron2's RetinaNet, except for its head: `PredictorHead`.

    MODEL.RETINANET.NUM_CONVS 0 leaves the towers out where DyHead has blocks, and means 4 on a
    DyHead backbone that has none, as for ATSS.
    """

    @configurable
    def __init__(self, **retinanet: Any) -> None:
        super().__init__(**retinanet)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Constructor arguments from MODEL.RETINANET, MODEL.DYHEAD_RETINANET and the backbone.

        Raises:
            UserError: the backbone lacks a feature of MODEL.RETINANET.IN_FEATURES, or the towers
                cannot have the norm.
        """
        retinanet = cfg.MODEL.RETINANET
        use_gn = wants_group_norm(retinanet.NORM)
        try:
            arguments = super().from_config(with_smallest_head(cfg))
        except KeyError as error:  # genuine Detectron2's answer to a feature that is not there
            if error.args[0] not in retinanet.IN_FEATURES:
                raise
            raise UserError(
                f"MODEL.RETINANET.IN_FEATURES names {error.args[0]}, which the backbone does not"
                " give: take it out, or choose another backbone."
            ) from error
        backbone = arguments["backbone"]
        warn_of_unused_features(retinanet.IN_FEATURES, backbone.output_shape())
        arguments["head"] = PredictorHead(
            in_channels=shared_channels(head_levels(retinanet, backbone)),
            num_classes=retinanet.NUM_CLASSES,
            num_anchors=anchors_per_location(arguments["anchor_generator"]),
            num_convs=tower_depth(retinanet.NUM_CONVS, backbone),
            use_gn=use_gn,
            predictor_kernel_size=cfg.MODEL.DYHEAD_RETINANET.PREDICTOR_KERNEL_SIZE,
            prior_prob=retinanet.PRIOR_PROB,
            predictor_init_std=cfg.MODEL.DYHEAD_RETINANET.PREDICTOR_INIT_STD,
        )
        return arguments


def with_smallest_head(cfg: CfgNode) -> CfgNode:
    """A copy of `cfg` for the host's own head, which is thrown away, but needs a convolution."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.RETINANET.NUM_CONVS = 1
    cfg.MODEL.RETINANET.NORM = ""
    return cfg


def wants_group_norm(norm: str) -> bool:
    """Whether MODEL.RETINANET.NORM asks for GroupNorm in the towers.

    Raises:
        UserError: it asks for another norm.
    """
    if norm not in ("", "GN"):
        raise UserError(
            f"MODEL.RETINANET.NORM is {norm!r}: set it to '' or 'GN' for DyHeadRetinaNet, or use"
            " MODEL.META_ARCHITECTURE RetinaNet."
        )
    return norm == "GN"
