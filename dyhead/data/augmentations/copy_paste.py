"""Objects of one picture pasted onto another, by their boxes (Dwibedi et al., ICCV 2017)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dyhead.data.augmentations.sample import Sample, join_objects
from dyhead.data.augmentations.visibility import is_visible, visible_shares

_PLACES = 10  # that are tried for an object
_MOST_COVERED = 0.3  # share of a box that an object may cover


class _Patch(NamedTuple):
    """A rectangle to paste, with the boxes in it, as they lie on the picture below."""

    cut: Sample
    left: int
    top: int

    @property
    def region(self) -> tuple[int, int, int, int]:
        """XYXY in pixels of the picture below."""
        height, width = self.cut.size
        return self.left, self.top, self.left + width, self.top + height


class CopyPaste:
    """Pastes boxes of another picture, with all that is in them, at random places.

    An object is pasted where it hides at most 0.3 of any box, or left out where ten places did not
    show one. Boxes that pasted objects hide in part shrink to what is seen of them, and are dropped
    where that is too little.
    """

    def __init__(self, max_objects: int, least_visible: float) -> None:
        """Choose limits.

        Args:
            max_objects: at most so many are pasted, at least one is tried.
            least_visible: share of a box's area that has to be seen; others are dropped.
        """
        self._max_objects, self._least_visible = max_objects, least_visible

    def __call__(self, sample: Sample, draw: Callable[[], Sample]) -> Sample:
        """Return a sample with objects of one that is drawn."""
        donor = draw()
        number = int(np.random.randint(1, self._max_objects + 1))
        boxes, classes, patches = [sample.boxes], [sample.classes], []
        for index in np.random.permutation(len(donor.boxes))[:number]:
            cut = donor.cut(_whole_pixels(donor.boxes[index], donor.size), self._least_visible)
            patch = _find_place(cut, sample.size, torch.cat(boxes))
            if patch is not None:
                patches.append(patch)
                boxes.append(cut.moved_boxes(patch.left, patch.top))
                classes.append(cut.classes)
        if not patches:
            return sample
        return self._paste(sample, patches, boxes, classes)

    def _paste(
        self, sample: Sample, patches: list[_Patch], boxes: list[Tensor], classes: list[Tensor]
    ) -> Sample:
        """Paint the patches, the last on top, and see what is left of each one's boxes."""
        image = sample.image.clone()
        layers = np.zeros(sample.size, dtype=np.int32)  # of each pixel: 0 or the patch's number
        for number, patch in enumerate(patches, start=1):
            left, top, right, bottom = patch.region
            image[:, top:bottom, left:right] = patch.cut.image
            layers[top:bottom, left:right] = number
        seen = [_seen_boxes(part, layers == layer) for layer, part in enumerate(boxes)]
        stays = [is_visible(part, shares, self._least_visible) for part, shares in seen]
        kept = [part[stay] for (part, _), stay in zip(seen, stays, strict=True)]
        return join_objects(image, kept, [c[s] for c, s in zip(classes, stays, strict=True)])


def _whole_pixels(box: Tensor, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the pixels that a box touches, XYXY within a picture of (height, width)."""
    left, top, right, bottom = box.tolist()
    height, width = size
    return (
        max(math.floor(left), 0),
        max(math.floor(top), 0),
        min(math.ceil(right), width),
        min(math.ceil(bottom), height),
    )


def _find_place(cut: Sample, size: tuple[int, int], boxes: Tensor) -> _Patch | None:
    """Find a place where a cut hides little of the boxes; None if it is too large or none shows."""
    free = [room - length for room, length in zip(size, cut.size, strict=True)]
    if min(free) < 0 or not len(cut.boxes):
        return None
    for _ in range(_PLACES):
        top, left = (int(np.random.randint(space + 1)) for space in free)
        patch = _Patch(cut, left, top)
        if not len(boxes) or visible_shares(boxes, patch.region).max() <= _MOST_COVERED:
            return patch
    return None


def _seen_boxes(boxes: Tensor, seen: np.ndarray) -> tuple[Tensor, Tensor]:
    """Shrink boxes to the pixels of them that are seen, and return the shares of these.

    Args:
        boxes: (N, 4) XYXY in pixels.
        seen: (H, W) bool, of the picture's pixels.
    """
    left_over = boxes.clone()
    shares = boxes.new_ones(len(boxes))
    for index, box in enumerate(boxes):
        left, top, right, bottom = _whole_pixels(box, (seen.shape[0], seen.shape[1]))
        inside = seen[top:bottom, left:right]
        if inside.all():
            continue
        shares[index] = float(inside.mean())
        columns, rows = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
        if len(rows):
            low = box.new_tensor([left + columns[0], top + rows[0]])
            high = box.new_tensor([left + columns[-1] + 1, top + rows[-1] + 1])
            left_over[index, :2] = torch.maximum(box[:2], low)
            left_over[index, 2:] = torch.minimum(box[2:], high)
    return left_over, shares
