"""Finds the level and the location of the pyramid that each detection of a dense detector is from.

The detector's own inference says it: every detection carries the index of its anchor.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from dyhead.d2.modeling.meta_arch import RetinaNet
from dyhead.d2.structures import Instances
from dyhead.errors import UserError
from dyhead.modeling.meta_arch.dense_detector import DenseDetector


class Origin(NamedTuple):
    """The place of a feature pyramid whose prediction became a detection.

    Attributes:
        level: index among the levels that the blocks see, the finest is 0.
        row, column: the position on the level's map.
        anchor: index among the anchors of that position.
    """

    level: int
    row: int
    column: int
    anchor: int


def check_explained(model: Any) -> None:
    """Refuse a detector whose detections are not from one place of the pyramid each.

    Raises:
        UserError: it is of another kind.
    """
    if not isinstance(model, DenseDetector | RetinaNet):
        name = type(model).__name__
        raise UserError(
            f"{name} cannot be explained: its boxes are made from regions and not at one location"
            " of a level, so take ATSS, FCOS, RepPoints, RetinaNet or DyHeadRetinaNet."
        )


def find_origins(
    model: Any, instances: Instances, level_sizes: Sequence[tuple[int, int]]
) -> list[Origin]:
    """Read the origins off the detections.

    Args:
        model: a `DenseDetector`, or the host's RetinaNet.
        instances: what it detected in one image.
        level_sizes: H, W of every level of the pyramid that the blocks give, by the names of the
            backbone's features.

    Raises:
        UserError: the host's RetinaNet does not tell.
    """
    if not (instances.has("pred_levels") and instances.has("pred_anchors")):
        raise UserError(
            "Genuine Detectron2's RetinaNet does not tell which anchors its detections are from:"
            " set DYHEAD_HOST=embedded, or use MODEL.META_ARCHITECTURE DyHeadRetinaNet."
        )
    names = list(model.backbone.output_shape())
    per_location = model.anchor_generator.num_anchors
    found = zip(instances.pred_levels.tolist(), instances.pred_anchors.tolist(), strict=True)
    origins = []
    for head_level, index in found:
        level = names.index(model.head_in_features[head_level])
        location, anchor = divmod(index, per_location[head_level])
        row, column = divmod(location, level_sizes[level][1])
        origins.append(Origin(level, row, column, anchor))
    return origins
