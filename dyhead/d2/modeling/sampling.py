"""Random choice of the boxes that a loss is computed on."""

import torch
from torch import Tensor

from ..layers import nonzero_tuple


def subsample_labels(
    labels: Tensor, num_samples: int, positive_fraction: float, bg_label: int
) -> tuple[Tensor, Tensor]:
    """Choose positives and negatives at random, with at most a given share of positives.

    Missing positives are made up for by negatives, missing negatives by nothing.

    Args:
        labels: (N,): -1 for what is ignored, `bg_label` for negatives, anything else is positive.
        num_samples: how many to choose in all.
        positive_fraction: largest share of positives among `num_samples`.
        bg_label: label of the background.

    Returns:
        Indices of the chosen positives and of the chosen negatives.
    """
    positives = nonzero_tuple((labels != -1) & (labels != bg_label))[0]
    negatives = nonzero_tuple(labels == bg_label)[0]
    num_positives = min(len(positives), int(num_samples * positive_fraction))
    num_negatives = min(len(negatives), num_samples - num_positives)
    # Positives draw first: equal seeds then give the choice that Detectron2 makes.
    return choose(positives, num_positives), choose(negatives, num_negatives)


def choose(candidates: Tensor, count: int) -> Tensor:
    """(count,) of (N,) candidates at random, without repetition."""
    order = torch.randperm(len(candidates), device=candidates.device)
    return candidates[order[:count]]
