"""Maps of pictures of several sizes, computed apart, in one tensor of the batch.

Every picture keeps the top left of the common grid, so that losses see the whole batch, with the
same anchors for all of its pictures.

Shape letters: N images, n images of a group, C channels, H x W locations of a level, A anchors per
location.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dyhead.modeling.meta_arch.dense_losses import NO_LOSS_LOGIT

Maps = Sequence[list[Tensor]]  # what a dense head gives: of each kind a map per level
Groups = Sequence[Sequence[int]]  # indices of the images of each group


def join_maps(of_groups: Sequence[Maps], groups: Groups) -> list[list[Tensor]]:
    """Join the maps of groups of images.

    Args:
        of_groups: per group of each kind, the class logits first, (n, C, h, w) per level.
        groups: of all N images of the batch.

    Returns:
        Of each kind (N, C, H, W) per level, H x W the largest of the groups. Outside of an image
        its class logits are such that they cost nothing as background; all else is 0 there.
    """
    return [
        [
            _join(level, groups, value=0.0 if kind else NO_LOSS_LOGIT)
            for level in zip(*levels_of_groups, strict=True)
        ]
        for kind, levels_of_groups in enumerate(zip(*of_groups, strict=True))
    ]


def _join(of_groups: Sequence[Tensor], groups: Groups, value: float) -> Tensor:
    height, width = _largest(of_groups)
    rows: dict[int, Tensor] = {}
    for each, indices in zip(of_groups, groups, strict=True):
        missing = 0, width - each.shape[3], 0, height - each.shape[2]
        rows |= zip(indices, F.pad(each, missing, value=value).split(1), strict=True)
    return torch.cat([rows[index] for index in range(len(rows))])


def anchors_inside(
    of_groups: Sequence[Maps], groups: Groups, num_anchors: int
) -> list[list[Tensor]]:
    """Find the anchors that lie at an image's own locations.

    Args:
        of_groups, groups: as `join_maps` takes them.
        num_anchors: A.

    Returns:
        Per image and level their indices among the H * W * A anchors of the batch's map.
    """
    logits = [maps[0] for maps in of_groups]
    largest = [_largest(level) for level in zip(*logits, strict=True)]
    rows: dict[int, list[Tensor]] = {}
    for levels, indices in zip(logits, groups, strict=True):
        own = [
            _first(level, *size, num_anchors) for level, size in zip(levels, largest, strict=True)
        ]
        rows |= dict.fromkeys(indices, own)
    return [rows[index] for index in range(len(rows))]


def _first(level: Tensor, height: int, width: int, num_anchors: int) -> Tensor:
    count = height * width * num_anchors
    every = torch.arange(count, device=level.device).view(height, width, num_anchors)
    return every[: level.shape[2], : level.shape[3]].flatten()


def _largest(maps: Sequence[Tensor]) -> tuple[int, int]:
    return max(each.shape[2] for each in maps), max(each.shape[3] for each in maps)
