"""Matching of anchors or proposals with ground-truth objects.

Shape letters: M objects, N anchors or proposals.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class Matcher:
    """A rule that labels by thresholds on the quality, usually the IoU, of the best match."""

    def __init__(
        self,
        thresholds: list[float],
        labels: list[int],
        allow_low_quality_matches: bool = False,
    ) -> None:
        """Set the ranges of quality.

        Args:
            thresholds: ascending and positive; a quality equal to one belongs to the range above.
            labels: of the ranges, lowest first, one more than thresholds: 1 positive, 0 negative,
                -1 ignored.
            allow_low_quality_matches: every object gets the anchors that overlap it best, ties
                included, as positive ones, however poor they are (arXiv:1506.01497, 3.1.2).

        Raises:
            ValueError: thresholds or labels are not as described.
        """
        check_thresholds(thresholds, labels)
        self.thresholds = [-float("inf"), *thresholds, float("inf")]
        self.labels = list(labels)
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Match every column to a row.

        Args:
            match_quality_matrix: (M, N), not negative.

        Returns:
            (N,) int64 indices of the best object of each column, 0 where there is no object; and
            (N,) int8 labels, the lowest range's where there is no object.
        """
        num_objects, num_anchors = match_quality_matrix.shape
        if num_objects == 0 or num_anchors == 0:
            matches = match_quality_matrix.new_zeros(num_anchors, dtype=torch.int64)
            return matches, torch.full_like(matches, self.labels[0], dtype=torch.int8)
        best, matches = match_quality_matrix.max(dim=0)
        ranges = torch.bucketize(best, best.new_tensor(self.thresholds[1:-1]), right=True)
        labels = torch.tensor(self.labels, dtype=torch.int8, device=best.device)[ranges]
        if self.allow_low_quality_matches:
            self.set_low_quality_matches_(labels, match_quality_matrix)
        return matches, labels

    def set_low_quality_matches_(self, match_labels: Tensor, match_quality_matrix: Tensor) -> None:
        """Label the best columns of every row positive, in place; their matches stay as they are.

        Args:
            match_labels: (N,).
            match_quality_matrix: (M, N).
        """
        best_of_objects = match_quality_matrix.amax(dim=1, keepdim=True)
        match_labels[(match_quality_matrix == best_of_objects).any(dim=0)] = 1


def check_thresholds(thresholds: Sequence[float], labels: Sequence[int]) -> None:
    """Refuse thresholds and labels that do not fit each other.

    Raises:
        ValueError: they do not.
    """
    if len(labels) != len(thresholds) + 1 or not set(labels) <= {-1, 0, 1}:
        raise ValueError(
            f"IOU_LABELS {list(labels)} don't fit IOU_THRESHOLDS {list(thresholds)}: give one more"
            " label than thresholds, each 1, 0 or -1."
        )
    if list(thresholds) != sorted(thresholds) or (len(thresholds) and thresholds[0] <= 0):
        raise ValueError(f"IOU_THRESHOLDS {list(thresholds)} must be positive and ascending.")
