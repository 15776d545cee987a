"""Boxes as offsets from other boxes."""

import math
from collections.abc import Callable, Sequence

import torch
from fvcore.nn import smooth_l1_loss
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from ..structures import Boxes

# No box grows more than 1000 / 16 times: from the smallest usual anchor to a whole usual image.
DEFAULT_SCALE_CLAMP = math.log(1000.0 / 16)

_LOSSES_OF_BOXES = {
    "giou": generalized_box_iou_loss,
    "diou": distance_box_iou_loss,
    "ciou": complete_box_iou_loss,
}


class Box2BoxTransform:
    """The deltas (dx, dy, dw, dh) of R-CNN (arXiv:1311.2524, appendix C).

    Centres move by a share of the source box's size, sizes change by the exponential.
    """

    def __init__(
        self,
        weights: tuple[float, float, float, float],
        scale_clamp: float = DEFAULT_SCALE_CLAMP,
    ) -> None:
        """Set what the four deltas are multiplied by, and the largest dw and dh to decode."""
        self.weights = weights
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Encode targets relative to sources.

        Args:
            src_boxes: (N, 4) absolute x0, y0, x1, y1; for example anchors.
            target_boxes: (N, 4) in the same format.

        Returns:
            (N, 4) deltas; `apply_deltas` gives the targets back, unless the clamp applies.

        Raises:
            ValueError: a source box has no width or no height.
        """
        src_centres, src_size = centres_and_size(src_boxes)
        if not (src_size > 0).all():
            raise ValueError("Box2BoxTransform needs source boxes of positive width and height.")
        target_centres, target_size = centres_and_size(target_boxes)
        shift = (target_centres - src_centres) / src_size
        growth = torch.log(target_size / src_size)
        return torch.cat([shift, growth], dim=1) * shift.new_tensor(self.weights)

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Decode deltas relative to boxes, in float32.

        Args:
            deltas: (N, 4 k): k groups of deltas for each box, for example one per class.
            boxes: (N, 4) absolute x0, y0, x1, y1.

        Returns:
            (N, 4 k) boxes.
        """
        groups = deltas.float().unflatten(1, (-1, 4))
        groups = groups / groups.new_tensor(self.weights)
        centres, size = centres_and_size(boxes.to(groups.dtype)[:, None])
        new_centres = centres + groups[..., :2] * size
        half_size = groups[..., 2:].clamp(max=self.scale_clamp).exp() * size / 2
        decoded = torch.cat([new_centres - half_size, new_centres + half_size], dim=-1)
        return decoded.reshape(deltas.shape)


class Box2BoxTransformLinear:
    """Distances from a source box's centre to the target's left, top, right and bottom (FCOS)."""

    def __init__(self, normalize_by_size: bool = True) -> None:
        """Set whether distances are shares of the source box's width and height, or pixels."""
        self.normalize_by_size = normalize_by_size

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Encode targets, (N, 4) x0, y0, x1, y1, relative to sources whose centres they hold."""
        centres, size = centres_and_size(src_boxes)
        deltas = torch.cat([centres - target_boxes[:, :2], target_boxes[:, 2:] - centres], dim=1)
        return deltas / size.repeat(1, 2) if self.normalize_by_size else deltas

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Decode deltas (N, 4 k) relative to boxes (N, 4); negative distances count as 0."""
        groups = deltas.clamp(min=0).unflatten(1, (-1, 4))
        centres, size = centres_and_size(boxes.to(deltas.dtype)[:, None])
        if self.normalize_by_size:
            groups = groups * size.repeat(1, 1, 2)
        decoded = torch.cat([centres - groups[..., :2], centres + groups[..., 2:]], dim=-1)
        return decoded.reshape(deltas.shape)


def _dense_box_regression_loss(
    anchors: Sequence[Boxes | Tensor],
    box2box_transform: Box2BoxTransform,
    pred_anchor_deltas: Sequence[Tensor],
    gt_boxes: Sequence[Tensor],
    fg_mask: Tensor,
    box_reg_loss_type: str = "smooth_l1",
    smooth_l1_beta: float = 0.0,
) -> Tensor:
    """Sum of the box losses of the positive anchors of a batch.

    Shape letters: N images, R anchors of a level, T anchors of all levels.

    Args:
        anchors: per level (R, 4) absolute x0, y0, x1, y1.
        box2box_transform: between anchors and boxes.
        pred_anchor_deltas: per level (N, R, 4).
        gt_boxes: per image (T, 4), the box that each anchor is matched to.
        fg_mask: (N, T), which anchors are positive.
        box_reg_loss_type: "smooth_l1" on deltas; "giou", "diou" or "ciou" on boxes.
        smooth_l1_beta: where the smooth L1 loss turns from quadratic to linear.

    Raises:
        ValueError: the type is none of these.
    """
    tensors = [level.tensor if isinstance(level, Boxes) else level for level in anchors]
    sources = torch.cat(tensors).expand(*fg_mask.shape, 4)[fg_mask]  # (positives, 4)
    deltas = torch.cat(list(pred_anchor_deltas), dim=1)[fg_mask]
    targets = torch.stack(list(gt_boxes))[fg_mask]
    if box_reg_loss_type == "smooth_l1":
        target_deltas = box2box_transform.get_deltas(sources, targets)
        return smooth_l1_loss(deltas, target_deltas, beta=smooth_l1_beta, reduction="sum")
    return box_loss_of(box_reg_loss_type)(
        box2box_transform.apply_deltas(deltas, sources), targets, reduction="sum"
    )


def check_box_reg_loss_type(box_reg_loss_type: str, section: str) -> None:
    """Refuse a type that `_dense_box_regression_loss` lacks, before a training gets to it.

    Args:
        box_reg_loss_type: the value of BBOX_REG_LOSS_TYPE.
        section: the group of keys that it belongs to, such as "MODEL.RPN".

    Raises:
        ValueError: there is no such loss.
    """
    if box_reg_loss_type != "smooth_l1":
        box_loss_of(box_reg_loss_type, f"{section}.BBOX_REG_LOSS_TYPE")


def box_loss_of(box_reg_loss_type: str, key: str = "box_reg_loss_type") -> Callable[..., Tensor]:
    """The loss on boxes (N, 4), (N, 4) with a `reduction`, by its name.

    Args:
        box_reg_loss_type: the name.
        key: where the name was written, for errors.

    Raises:
        ValueError: there is no such loss.
    """
    if box_reg_loss_type not in _LOSSES_OF_BOXES:
        raise ValueError(
            f"{key} is {box_reg_loss_type!r}: use smooth_l1, {', '.join(_LOSSES_OF_BOXES)}."
        )
    return _LOSSES_OF_BOXES[box_reg_loss_type]


def centres_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 2) centre x, y and (..., 2) width, height of (..., 4) corners."""
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + size / 2, size
