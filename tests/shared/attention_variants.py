"""Attentions of one's own, each in as many lines as one needs."""

import torch
from torch import nn

from dyhead.layers import SCALE_ATTENTIONS, SPATIAL_ATTENTIONS, TASK_ATTENTIONS


class OwnLevel(nn.Module):
    """The level alone, after a convolution."""

    def __init__(self, in_channels, out_channels, options):
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=options.bias)

    def forward(self, levels, index):
        return (self.convolution(levels[index]),)


class SoftmaxAttention(nn.Module):
    """Branches weighted against each other."""

    def __init__(self, channels, options):
        super().__init__()
        self.score = nn.Linear(channels, 1)

    def forward(self, branches):
        stacked = torch.stack(list(branches))  # (B, N, C, H, W)
        weights = self.score(stacked.mean((3, 4))).softmax(0)
        return (stacked * weights[..., None, None]).sum(0)


class Gate(nn.Module):
    """Channels switched by a sigmoid."""

    def __init__(self, channels, options):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels)

    def forward(self, feature):
        return feature * self.squeeze(feature.mean((2, 3))).sigmoid()[..., None, None]


# The option, the table of what it may be, and the variant.
VARIANTS = {
    "spatial_attention": (SPATIAL_ATTENTIONS, OwnLevel),
    "scale_attention": (SCALE_ATTENTIONS, SoftmaxAttention),
    "task_attention": (TASK_ATTENTIONS, Gate),
}
