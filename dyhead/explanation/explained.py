"""The explanation of the detections of one picture, as plain values.

Shape letters: C channels; P points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dyhead.prediction.detections import Detections

# A quarter off the slopes of ReLU, which are 1 for positive and 0 for negative values.
DAMPED_BELOW, AMPLIFIED_ABOVE, PASSED_ABOVE = 0.75, 1.25, 0.25

DEFINITIONS = {
    "scale weights": "What the scale attention multiplies each branch of a level by, before the"
    " mean over the branches: 0.5 to 1 with the official hard sigmoid behind a ReLU.",
    "switched channels": "The task attention (DyReLU) gives each channel two lines, of which the"
    " higher one counts. Large positive values take the steeper slope, large negative values the"
    " other one; ReLU has 1 and 0. A channel is damped if the first is below"
    f" {DAMPED_BELOW:g}, amplified if it is above {AMPLIFIED_ABOVE:g}, and lets negative values"
    f" pass if the other is more than {PASSED_ABOVE:g} away from 0.",
    "sampling points": "A point's weight is the sum, over the paths that lead from the detection's"
    " location to it, of the product of the masks of their samples, the scale attention's weights"
    " (over the number of branches) and the bilinear shares of pixels between which a sample lies."
    " A block that adds its input hears each position itself besides, with weight 1. Kernels have"
    " no part in it, nor has what follows the blocks: convolutions of a tower see the location's"
    " neighbours too. The heaviest points of each block go on to the block below.",
    "location": "The centre of the anchor whose prediction became the detection.",
}


@dataclass(frozen=True, eq=False)
class LevelAttention:
    """The effect of a block's attentions on one level.

    Attributes:
        level: the level's name.
        branches: names of the levels whose convolutions were mixed, the finest first.
        weights: of the scale attention for these; empty where there is none. Where it comes first,
            that of the level itself.
        dyrelu: (C, 4), float32: slope 1, intercept 1, slope 2, intercept 2 of every channel; no
            rows where there is no DyReLU.
    """

    level: str
    branches: tuple[str, ...]
    weights: tuple[float, ...]
    dyrelu: np.ndarray

    @property
    def slopes(self) -> np.ndarray:
        """(C, 2): each channel's slope for large positive and for large negative values."""
        both = self.dyrelu[:, [0, 2]]
        return np.stack([both.max(1), both.min(1)], axis=1) if len(both) else both

    @property
    def damped(self) -> list[int]:
        """Indices of the channels that are damped."""
        return np.flatnonzero(self.slopes[:, 0] < DAMPED_BELOW).tolist()

    @property
    def amplified(self) -> list[int]:
        """Indices of the channels that are amplified."""
        return np.flatnonzero(self.slopes[:, 0] > AMPLIFIED_ABOVE).tolist()

    @property
    def passing_negative(self) -> list[int]:
        """Indices of the channels that let negative values pass."""
        return np.flatnonzero(np.abs(self.slopes[:, 1]) > PASSED_ABOVE).tolist()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "level": self.level,
            "branches": list(self.branches),
            "weights": [round(weight, 4) for weight in self.weights],
            "slopes": np.round(self.slopes.astype(float), 3).tolist(),
            "damped": self.damped,
            "amplified": self.amplified,
            "passing_negative": self.passing_negative,
        }


@dataclass(frozen=True, eq=False)
class SampledPoints:
    """The points that the blocks from the explained one down to this one sampled.

    Attributes:
        block: number of the block that reads them, from 1.
        places: (P, 2), float32, x and y in pixels of the picture; they may lie outside of it.
        weights: (P,), float32, the heaviest first.
        levels: (P,), indices of the levels that were read, the finest is 0.
        kept: the share of the weight of this block's samples that these points have.
    """

    block: int
    places: np.ndarray
    weights: np.ndarray
    levels: np.ndarray
    kept: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "block": self.block,
            "kept": round(self.kept, 4),
            "points": [
                [round(x, 1), round(y, 1), float(f"{weight:.3g}"), level]
                for (x, y), weight, level in zip(
                    self.places.tolist(), self.weights.tolist(), self.levels.tolist(), strict=True
                )
            ],
        }


@dataclass(frozen=True, eq=False)
class ExplainedDetection:
    """The origin of one detection.

    Attributes:
        level: index of the level, the finest is 0.
        row, column: of the location on the level's map.
        anchor: index among the anchors of the location.
        location: the anchor's centre, x and y in pixels of the picture.
        points: of the explained block first, then of each one below it.
    """

    level: int
    row: int
    column: int
    anchor: int
    location: tuple[float, float]
    points: tuple[SampledPoints, ...]

    def to_dict(self, level_names: Sequence[str]) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "level": level_names[self.level],
            "row": self.row,
            "column": self.column,
            "anchor": self.anchor,
            "location": [round(value, 1) for value in self.location],
            "sampled": [each.to_dict() for each in self.points],
        }


@dataclass(frozen=True, eq=False)
class Explanation:
    """The effect of the attentions on the detections of one picture.

    Attributes:
        detections: as the detector gives them.
        objects: of each detection.
        blocks: of each block, from the first to the last, its levels, the finest first.
        block: the block, from 1, from which points are traced.
        level_names: of the levels, the finest first.
        strides: of the levels, in pixels of the picture as the model saw it.
        seen_size: height and width in which the model saw the picture, in pixels.
    """

    detections: Detections
    objects: tuple[ExplainedDetection, ...]
    blocks: tuple[tuple[LevelAttention, ...], ...]
    block: int
    level_names: tuple[str, ...]
    strides: tuple[int, ...]
    seen_size: tuple[int, int]

    def __len__(self) -> int:
        """Count the detections."""
        return len(self.objects)

    def __repr__(self) -> str:
        """Count the detections by level."""
        names = [self.level_names[each.level] for each in self.objects]
        counts = ", ".join(f"{names.count(n)} from {n}" for n in self.level_names if n in names)
        return f"<Explanation of {len(self)} detections: {counts or 'none'}>"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: those of the detections, and an explanation of each."""
        plain = self.detections.to_dict()
        for found, explained in zip(plain["detections"], self.objects, strict=True):
            found["explanation"] = explained.to_dict(self.level_names)
        return {
            **plain,
            "seen_size": list(self.seen_size),
            "levels": [
                {"name": name, "stride": stride}
                for name, stride in zip(self.level_names, self.strides, strict=True)
            ],
            "explained_block": self.block,
            "blocks": [[level.to_dict() for level in block] for block in self.blocks],
        }
