"""The assignment of locations to objects in FCOS (Tian et al., ICCV 2019, section 3).

No matrix of all locations and all objects is kept: a level goes through its locations in blocks.

Shape letters: R locations of a level, T locations of all levels, M objects of an image.
"""

import torch
from torch import Tensor

from dyhead.box_geometry import MAX_PAIRS, box_centers, center_distances
from dyhead.modeling.meta_arch.assignment import BACKGROUND


def areas_of_candidates(
    locations: Tensor, boxes: Tensor, sizes: tuple[float, float], radius: float
) -> Tensor:
    """Compute (R, M) areas of the objects that each location may detect, infinite for the others.

    Args:
        locations: (R, 4), squares of the level's stride.
        boxes: (M, 4), XYXY in pixels.
        sizes: lowest and highest distance in pixels, both inclusive, from a location to the
            farthest side of an object that belongs to the level.
        radius: see `assign_locations`.
    """
    distances = center_distances(locations[:, None], boxes)  # (R, M, 4)
    farthest = distances.amax(dim=-1)
    inside = is_sampled(locations, boxes, distances, radius)
    candidate = inside & (farthest >= sizes[0]) & (farthest <= sizes[1])
    # An object that a location may not detect is larger than any other: the smallest wins.
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return torch.where(candidate, areas, torch.inf)


def is_sampled(locations: Tensor, boxes: Tensor, distances: Tensor, radius: float) -> Tensor:
    """Mark, (R, M), the locations that lie in an object's box and near enough to its centre."""
    inside = distances.amin(dim=-1) > 0
    if radius <= 0:
        return inside
    offsets = (box_centers(locations)[:, None] - box_centers(boxes)).abs().amax(dim=-1)
    stride = locations[:, 2:3] - locations[:, :1]  # (R, 1)
    return inside & (offsets < radius * stride)


@torch.no_grad()
def assign_locations(
    locations: list[Tensor],
    boxes: Tensor,
    *,
    level_limits: list[float],
    center_sampling_radius: float,
) -> Tensor:
    """Choose the object that every location has to detect: of several candidates the smallest.

    Args:
        locations: per level (R, 4), squares of the level's stride.
        boxes: (M, 4), the objects of one image, possibly none.
        level_limits: between two levels, finest first, in pixels: an object belongs to the level
            whose limits the distance from the location to the object's farthest side lies between.
        center_sampling_radius: locations within so many strides of an object's centre, in x and in
            y, answer for it; 0 for all locations inside the box.

    Returns:
        (T,), object indices in the order of the levels, BACKGROUND for no object.
    """
    limits = [0.0, *level_limits, float("inf")]
    if len(boxes) == 0:
        count = sum(len(level) for level in locations)
        return torch.full((count,), BACKGROUND, device=boxes.device)
    matched = []
    for level, low, high in zip(locations, limits[:-1], limits[1:], strict=True):
        for block in level.split(max(1, MAX_PAIRS // len(boxes))):
            areas = areas_of_candidates(block, boxes, (low, high), center_sampling_radius)
            smallest, objects = areas.min(dim=1)
            matched.append(torch.where(smallest.isinf(), BACKGROUND, objects))
    return torch.cat(matched)
