"""Which locations answer for which object in the two stages of RepPoints (section 4).

The initial points learn at the locations in the middle of an object, on the level that suits its
size. Classes and refined points learn where the initial points' box has found an object. No matrix
of all locations and all objects is kept: both stages go through the objects in blocks.

Shape letters: N images, R locations of one level, T locations of all levels, M objects of an image,
C candidates per object. Boxes are XYXY in pixels.
"""

import torch
from torch import Tensor

from dyhead.d2.structures import Instances
from dyhead.modeling.meta_arch.atss_assignment import MAX_BLOCK, resolve_claims
from dyhead.modeling.meta_arch.box_geometry import box_centers
from dyhead.modeling.meta_arch.overlaps import find_overlaps
from dyhead.modeling.meta_arch.positives import BACKGROUND, Positives

IGNORED = -2  # neither an object's nor background
MIN_SIDE = 1e-6  # pixels: keeps objects without extent from dividing by 0


@torch.no_grad()
def assign_by_location(
    anchors: list[Tensor], boxes: Tensor, *, base_scale: float, topk: int
) -> Tensor:
    """The object for which every location has to find its initial points.

    An object asks for the locations nearest to its centre on one level; of several objects that
    ask for a location, that which it is nearest to gets it (the first of equals). Distances are
    measured in the object's width and height.

    Args:
        anchors: per level (R, 4), squares around the locations with sides of one stride.
        boxes: (M, 4), the objects of one image, possibly none.
        base_scale: see `suitable_levels`.
        topk: locations per object.

    Returns:
        (T,), object indices in the order of the levels, BACKGROUND for no object.
    """
    chosen_levels = suitable_levels(anchors, boxes, base_scale)
    matched = []
    for i, level in enumerate(anchors):
        objects = torch.nonzero(chosen_levels == i).squeeze(1)
        matched.append(_assign_on_level(box_centers(level), boxes, objects, topk))
    return torch.cat(matched)


def suitable_levels(anchors: list[Tensor], boxes: Tensor, base_scale: float) -> Tensor:
    """The level of every object (M,): the coarsest on which it still is `base_scale` strides large.

    An object's size is the square root of its area. The smallest objects go to the finest level.
    """
    strides = torch.stack([level[0, 2] - level[0, 0] for level in anchors])
    sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=MIN_SIDE).prod(dim=1).sqrt()
    levels = torch.searchsorted(strides, sizes / base_scale, right=True) - 1
    return levels.clamp(min=0)


def _assign_on_level(centers: Tensor, boxes: Tensor, objects: Tensor, topk: int) -> Tensor:
    """Assign the objects of the given indices to the locations (R, 2) of their level: (R,)."""
    if len(objects) == 0:
        return torch.full((len(centers),), BACKGROUND, device=centers.device)
    candidates, distances = _nearest_locations(centers, boxes[objects], min(topk, len(centers)))
    closeness = 1 / (1 + distances)
    everyone = torch.ones_like(candidates, dtype=torch.bool)
    winners = resolve_claims(candidates, closeness, everyone, len(centers))
    return torch.where(winners == BACKGROUND, BACKGROUND, objects[winners.clamp(min=0)])


def _nearest_locations(centers: Tensor, boxes: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Indices and distances, both (k, M), of the locations (R, 2) nearest to boxes (M, 4)."""
    indices, distances = [], []
    for block in boxes.split(max(1, MAX_BLOCK // len(centers))):
        sizes = (block[:, 2:] - block[:, :2]).clamp(min=MIN_SIDE)
        gaps = (centers - box_centers(block)[:, None]) / sizes[:, None]  # (M, R, 2)
        nearest = gaps.norm(dim=-1).topk(k, dim=1, largest=False)
        indices.append(nearest.indices)
        distances.append(nearest.values)
    return torch.cat(indices).t(), torch.cat(distances).t()


@torch.no_grad()
def assign_by_overlap(
    proposals: Tensor, boxes: Tensor, *, background_below: float, positive_from: float
) -> Tensor:
    """The object that every location has to detect, given the box that it proposes.

    A proposal belongs to the object that it overlaps most (the first of equals) if their IoU is
    high enough. Besides, every object gets all proposals of the highest IoU that it has with any,
    if that isn't 0; of several such objects the last gets the proposal.

    Args:
        proposals: (T, 4).
        boxes: (M, 4), the objects of one image, possibly none.
        background_below: IoU below which a proposal is background.
        positive_from: IoU from which on a proposal belongs to an object.

    Returns:
        (T,), object indices, BACKGROUND for no object, IGNORED for IoUs in between.
    """
    overlaps = find_overlaps(proposals, boxes, claim_without_overlap=False)
    middle = torch.where(overlaps.highest < background_below, BACKGROUND, IGNORED)
    matched = torch.where(overlaps.highest >= positive_from, overlaps.nearest, middle)
    return torch.where(overlaps.claimed == BACKGROUND, matched, overlaps.claimed)


@torch.no_grad()
def find_refined_positives(
    gt_instances: list[Instances],
    proposals: Tensor,
    *,
    background_below: float,
    positive_from: float,
) -> tuple[Positives, Tensor]:
    """Assign the objects of every image, which may have none, by overlap with its proposals.

    Args:
        gt_instances: per image, with `gt_boxes` and `gt_classes`.
        proposals: (N, T, 4).
        background_below: see `assign_by_overlap`.
        positive_from: see `assign_by_overlap`.

    Returns:
        The positives, and which locations are ignored, (N, T).
    """
    boxes = [instances.gt_boxes.tensor for instances in gt_instances]
    matched = torch.stack(
        [
            assign_by_overlap(
                image, objects, background_below=background_below, positive_from=positive_from
            )
            for image, objects in zip(proposals, boxes, strict=True)
        ]
    )
    images, locations = torch.nonzero(matched >= 0, as_tuple=True)
    counts = torch.tensor([0] + [len(objects) for objects in boxes], device=matched.device)
    objects = matched[images, locations] + counts.cumsum(0)[images]  # among those of all images
    classes = torch.cat([instances.gt_classes for instances in gt_instances])[objects]
    return Positives(images, locations, classes, torch.cat(boxes)[objects]), matched == IGNORED
