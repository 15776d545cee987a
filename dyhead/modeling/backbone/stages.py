"""The stages of a backbone, found by what its features are computed from."""

from typing import Any

import torch
from torch import Tensor, nn

from dyhead.d2.modeling import Backbone
from dyhead.modeling.backbone.timm_model import parameters_behind


def find_stages(backbone: Backbone, in_channels: int) -> list[list[nn.Parameter]]:
    """Find the trained parameters that each feature needs beyond the finer ones.

    Args:
        backbone: any one; it computes the features of a small image of zeros.
        in_channels: of the images.

    Returns:
        The stages in the order of their features, finest first; those that are frozen are left out.
    """
    shapes = backbone.output_shape()
    names = sorted(shapes, key=lambda name: shapes[name].stride or 0)
    features = _compute_features(backbone, in_channels, 4 * max(32, shapes[names[-1]].stride or 0))
    stages: list[list[nn.Parameter]] = []
    seen: set[nn.Parameter] = set()
    for name in names:
        behind = parameters_behind([features[name]])
        if new := [p for p in backbone.parameters() if p in behind and p not in seen]:
            stages.append(new)
        seen |= behind
    return stages


def _compute_features(backbone: Any, in_channels: int, side: int) -> dict[str, Tensor]:
    """Compute the features of one image, with their graph, in evaluation mode."""
    was_training = backbone.training
    device = next(backbone.parameters()).device
    backbone.eval()
    try:
        return backbone(torch.zeros(1, in_channels, side, side, device=device))
    finally:
        backbone.train(was_training)
