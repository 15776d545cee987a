"""ATSS as a meta-architecture (Zhang et al., CVPR 2020)."""

from typing import Any

from torch import Tensor

from dyhead.d2.config import CfgNode, configurable
from dyhead.d2.modeling.anchor_generator import build_anchor_generator
from dyhead.d2.modeling.backbone import build_backbone
from dyhead.d2.modeling.box_regression import Box2BoxTransform
from dyhead.d2.modeling.meta_arch import META_ARCH_REGISTRY
from dyhead.modeling.meta_arch.assignment import check_topk
from dyhead.modeling.meta_arch.atss_assignment import assign_anchors
from dyhead.modeling.meta_arch.centerness_detector import (
    CenternessDetector,
    build_dense_head,
    centerness_arguments,
)
from dyhead.modeling.meta_arch.dense_arguments import head_levels, trunk_arguments
from dyhead.modeling.meta_arch.towers import anchors_per_location, tower_depth


@META_ARCH_REGISTRY.register()
class ATSS(CenternessDetector):
    """A dense detector trained on adaptively selected anchors.

    Args:
        anchor_topk: candidates per object, level and anchor of a location.
        box_reg_loss_weight: weight of the box loss.
        centerness_detector: see `CenternessDetector`.

    Raises:
        UserError: the levels have different numbers of anchors per location, or `anchor_topk` is
            not positive.
    """

    config_section = "ATSS"  # of what derives from it too

    @configurable
    def __init__(
        self, *, anchor_topk: int = 9, box_reg_loss_weight: float = 2.0, **centerness_detector: Any
    ) -> None:
        super().__init__(box_reg_loss_weight=box_reg_loss_weight, **centerness_detector)
        check_topk(anchor_topk)
        self.candidates_per_level = anchor_topk * anchors_per_location(self.anchor_generator)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read constructor arguments from MODEL.ATSS, ANCHOR_GENERATOR and the backbone's keys."""
        atss = cfg.MODEL.ATSS
        backbone = build_backbone(cfg)
        levels = head_levels(atss, backbone)
        anchor_generator = build_anchor_generator(cfg, levels)
        return {
            **trunk_arguments(cfg, atss, backbone),
            **centerness_arguments(atss),
            "head": build_dense_head(
                atss,
                levels,
                num_anchors=anchors_per_location(anchor_generator),
                num_convs=tower_depth(atss.NUM_CONVS, backbone),
            ),
            "anchor_generator": anchor_generator,
            "box2box_transform": Box2BoxTransform(weights=tuple(atss.BBOX_REG_WEIGHTS)),
            "anchor_topk": atss.TOPK,
        }

    def assign(self, anchors: list[Tensor], boxes: Tensor) -> Tensor:
        """Select anchors adaptively: see `assign_anchors`."""
        return assign_anchors(anchors, boxes, self.candidates_per_level)
