"""The assignments of locations to objects in the two stages of RepPoints (section 4).

The initial points learn at the locations in the middle of an object, on the level that suits its
size. Classes and refined points learn where the initial points' box has found an object. No matrix
of all locations and all objects is kept: both stages go through the objects in blocks.

Shape letters: N images, R locations of one level, T locations of all levels, M objects of an image,
C candidates per object. Boxes are XYXY in pixels.
"""

import torch
from torch import Tensor

from dyhead.box_geometry import MAX_PAIRS, NOBODY, box_centers, find_overlaps
from dyhead.modeling.meta_arch.assignment import BACKGROUND, IGNORED, resolve_claims

MIN_SIDE = 1e-6  # pixels: keeps objects without extent from dividing by 0


@torch.no_grad()
def assign_by_location(
    anchors: list[Tensor], boxes: Tensor, *, base_scale: float, topk: int
) -> Tensor:
    """Choose the object for which every location has to find its initial points.

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
    """Choose every object's level, (M,): the coarsest on which it is `base_scale` strides large.

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
    closeness = 1 / (1 + distances)  # the nearest object's claim is the highest
    everyone = torch.ones_like(candidates, dtype=torch.bool)
    winners = resolve_claims(candidates, closeness, everyone, len(centers))
    return torch.where(winners == BACKGROUND, BACKGROUND, objects[winners.clamp(min=0)])


def _nearest_locations(centers: Tensor, boxes: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the locations (R, 2) nearest to boxes (M, 4): indices and distances, both (k, M)."""
    indices, distances = [], []
    for block in boxes.split(max(1, MAX_PAIRS // len(centers))):
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
    """Choose the object that every location has to detect, given the box that it proposes.

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
    return torch.where(overlaps.claimed == NOBODY, matched, overlaps.claimed)
