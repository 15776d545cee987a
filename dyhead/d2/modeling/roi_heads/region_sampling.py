"""The base class of second stages: in training it matches regions with objects and samples them.

Boxes are absolute x0, y0, x1, y1 in pixels.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ...config import CfgNode, configurable
from ...structures import Instances, pairwise_iou
from ...utils.events import get_event_storage, has_event_storage
from ..matcher import Matcher
from ..proposal_generator.proposal_utils import add_ground_truth_to_proposals
from ..sampling import subsample_labels

IGNORED, UNMATCHED = -1, 0  # labels of the matcher


class ROIHeads(nn.Module):
    """Base class of second stages; a subclass adds `forward`."""

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        batch_size_per_image: int,
        positive_fraction: float,
        proposal_matcher: Matcher,
        proposal_append_gt: bool = True,
    ) -> None:
        """Set how regions are sampled.

        Args:
            num_classes: number of classes without background.
            batch_size_per_image: regions of an image to train on.
            positive_fraction: largest share of regions with an object among them.
            proposal_matcher: matches regions with objects by IoU.
            proposal_append_gt: whether the objects' own boxes are regions too; without them there
                is hardly a positive one as long as the proposals are bad.
        """
        super().__init__()
        self.num_classes = num_classes
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.proposal_matcher = proposal_matcher
        self.proposal_append_gt = proposal_append_gt

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments of the constructor from a config."""
        heads = cfg.MODEL.ROI_HEADS
        return {
            "num_classes": heads.NUM_CLASSES,
            "batch_size_per_image": heads.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": heads.POSITIVE_FRACTION,
            "proposal_matcher": Matcher(
                heads.IOU_THRESHOLDS, heads.IOU_LABELS, allow_low_quality_matches=False
            ),
            "proposal_append_gt": heads.PROPOSAL_APPEND_GT,
        }

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """Choose the regions to train on.

        Args:
            proposals: regions of each image with "proposal_boxes" and "objectness_logits".
            targets: objects of each image with "gt_boxes" and "gt_classes".

        Returns:
            The chosen regions of each image with "gt_classes" (`num_classes` for background) and,
            where the image has objects, every other "gt_..." field of the object that the region
            is matched with.
        """
        if self.proposal_append_gt:
            proposals = add_ground_truth_to_proposals(targets, proposals)
        sampled = [self._label_and_sample(*image) for image in zip(proposals, targets, strict=True)]
        log_samples([regions.gt_classes for regions in sampled], self.num_classes)
        return sampled

    def _label_and_sample(self, proposals: Instances, targets: Instances) -> Instances:
        overlaps = pairwise_iou(targets.gt_boxes, proposals.proposal_boxes)
        matches, labels = self.proposal_matcher(overlaps)
        chosen, gt_classes = self._sample_proposals(matches, labels, targets.gt_classes)
        sampled = proposals[chosen]
        sampled.gt_classes = gt_classes
        if len(targets) > 0:
            objects = targets[matches[chosen]]
            for name, value in objects.get_fields().items():
                if name.startswith("gt_") and not sampled.has(name):
                    sampled.set(name, value)
        return sampled

    def _sample_proposals(
        self, matched_idxs: Tensor, matched_labels: Tensor, gt_classes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Indices of the chosen regions, and their classes."""
        if len(gt_classes) > 0:
            classes = gt_classes[matched_idxs]
            classes[matched_labels == UNMATCHED] = self.num_classes
            classes[matched_labels == IGNORED] = -1
        else:
            classes = torch.full_like(matched_idxs, self.num_classes)
        foreground, background = subsample_labels(
            classes, self.batch_size_per_image, self.positive_fraction, self.num_classes
        )
        chosen = torch.cat([foreground, background])
        return chosen, classes[chosen]


def select_foreground_proposals(
    proposals: list[Instances], bg_label: int
) -> tuple[list[Instances], list[Tensor]]:
    """Keep the regions with an object.

    Args:
        proposals: regions of each image with "gt_classes".
        bg_label: class of the background; -1 is never foreground either.

    Returns:
        The kept regions of each image, and the mask that chose them.
    """
    masks = [(regions.gt_classes != -1) & (regions.gt_classes != bg_label) for regions in proposals]
    kept = [regions[mask] for regions, mask in zip(proposals, masks, strict=True)]
    return kept, masks


def log_samples(gt_classes: list[Tensor], background: int) -> None:
    """Put the mean numbers of chosen regions per image into the event storage."""
    if has_event_storage():
        total = sum(len(classes) for classes in gt_classes)
        num_background = sum(int((classes == background).sum()) for classes in gt_classes)
        storage = get_event_storage()
        storage.put_scalar("roi_head/num_fg_samples", (total - num_background) / len(gt_classes))
        storage.put_scalar("roi_head/num_bg_samples", num_background / len(gt_classes))
