"""FCOS as a meta-architecture (Tian et al., ICCV 2019), with its authors' later improvements."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dyhead.d2.config import CfgNode, configurable
from dyhead.d2.modeling.backbone import build_backbone
from dyhead.d2.modeling.meta_arch import META_ARCH_REGISTRY
from dyhead.errors import UserError
from dyhead.modeling.meta_arch.centerness_detector import (
    CenternessDetector,
    build_dense_head,
    centerness_arguments,
)
from dyhead.modeling.meta_arch.dense_arguments import head_levels, trunk_arguments
from dyhead.modeling.meta_arch.fcos_assignment import assign_locations
from dyhead.modeling.meta_arch.locations import DistanceTransform, build_location_generator
from dyhead.modeling.meta_arch.towers import tower_depth

# Strides. Rectified distances have no gradient where they are negative, and a box none at all where
# both of an axis are. Started around 0, the first steps, which shorten those that are too long for
# small objects, leave boxes without area everywhere, which no later step can change.
FIRST_DISTANCE = 1.0


@META_ARCH_REGISTRY.register()
class FCOS(CenternessDetector):
    """A dense detector that predicts, at every location, the distances to an object's sides.

    Its anchors are locations: see `locations.py`.

    Args:
        level_limits: see `assign_locations`; one less than levels.
        center_sampling_radius: see `assign_locations`.
        centerness_detector: see `CenternessDetector`.

    Raises:
        UserError: the limits are not ascending, or do not fit the number of levels.
    """

    config_section = "FCOS"  # of what derives from it too

    @configurable
    def __init__(
        self,
        *,
        level_limits: Sequence[float] = (64, 128, 256, 512),
        center_sampling_radius: float = 1.5,
        **centerness_detector: Any,
    ) -> None:
        super().__init__(**centerness_detector)
        check_limits(level_limits, len(self.head_in_features))
        self.level_limits = [float(limit) for limit in level_limits]
        self.center_sampling_radius = center_sampling_radius

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read constructor arguments from MODEL.FCOS and the backbone's keys."""
        fcos = cfg.MODEL.FCOS
        backbone = build_backbone(cfg)
        levels = head_levels(fcos, backbone)
        return {
            **trunk_arguments(cfg, fcos, backbone),
            **centerness_arguments(fcos),
            "head": build_dense_head(
                fcos,
                levels,
                num_convs=tower_depth(fcos.NUM_CONVS, backbone),
                box_init=FIRST_DISTANCE if fcos.NORMALIZE_DISTANCES else 0.0,
                quality_on_box_tower=fcos.CENTERNESS_ON_BOX_TOWER,
            ),
            "anchor_generator": build_location_generator(levels),
            "box2box_transform": DistanceTransform(normalize=fcos.NORMALIZE_DISTANCES),
            "level_limits": fcos.LEVEL_LIMITS,
            "center_sampling_radius": fcos.CENTER_SAMPLING_RADIUS,
        }

    def assign(self, anchors: list[Tensor], boxes: Tensor) -> Tensor:
        """Assign by place and size: see `assign_locations`."""
        return assign_locations(
            anchors,
            boxes,
            level_limits=self.level_limits,
            center_sampling_radius=self.center_sampling_radius,
        )


def check_limits(level_limits: Sequence[float], num_levels: int) -> None:
    """Refuse limits that do not part the levels.

    Raises:
        UserError: they are not ascending numbers, or not one less than levels.
    """
    are_numbers = all(isinstance(limit, int | float) for limit in level_limits)
    are_ascending = are_numbers and sorted(level_limits) == list(level_limits)
    if len(level_limits) != num_levels - 1 or not are_ascending:
        raise UserError(
            f"MODEL.FCOS.LEVEL_LIMITS {list(level_limits)} must be {num_levels - 1} ascending"
            f" sizes in pixels, which part the {num_levels} levels of MODEL.FCOS.IN_FEATURES."
        )
