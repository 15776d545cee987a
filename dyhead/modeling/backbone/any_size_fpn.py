"""A feature pyramid on images of any size, for detectors that do not compute on padding.

Shapes: N images, C channels, H x W positions.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dyhead.d2.modeling import FPN, Backbone

_ODD_SIZE = (9, 13)  # in strides of the finest level: at 2, 4 and 8 times it sizes are not whole
_FAILURES = (RuntimeError, ValueError, AssertionError)  # of backbones that need other sizes


class AnySizeFPN(FPN):
    """The host's pyramid, with levels of ceil(H / stride) x ceil(W / stride) positions.

    The host's own takes images whose sides are multiples of the coarsest bottom-up stride. For
    this one multiples of the finest level's stride suffice, where the bottom-up backbone rounds the
    sizes of its features up (ResNet, Swin and most of timm's do); `size_divisibility` tells. On
    images that both take, values are the same; state-dict keys are in any case.
    """

    def __init__(self, bottom_up: Backbone, in_features: Sequence[str], **fpn: Any) -> None:
        """Build the pyramid.

        Args:
            bottom_up: the backbone that the pyramid stands on.
            in_features: as for the host's pyramid.
            fpn: the other arguments of the host's pyramid, and "image_channels".
        """
        image_channels = fpn.pop("image_channels")
        super().__init__(bottom_up=bottom_up, in_features=in_features, **fpn)
        shapes = bottom_up.output_shape()
        self._strides = [int(shapes[name].stride or 0) for name in in_features]
        rounds_up = len(self._strides) == 1 or self._rounds_up(image_channels)
        self._divisor = self._strides[0 if rounds_up else -1]

    @property
    def size_divisibility(self) -> int:
        """Number that the images' height and width must be multiples of."""
        return self._divisor

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (N, C, H, W) to the levels, finest first."""
        features = self.bottom_up(x)
        levels = self._add_top_down([features[name] for name in self.in_features])
        named = dict(zip(self._out_features, levels, strict=False))
        if self.top_block is not None:
            source = self.top_block.in_feature
            levels += self.top_block(features[source] if source in features else named[source])
        return dict(zip(self._out_features, levels, strict=True))

    def _add_top_down(self, features: list[Tensor]) -> list[Tensor]:
        outputs: list[Tensor] = []
        coarser: Tensor | None = None
        for stride, feature in zip(self._strides[::-1], features[::-1], strict=True):
            level = stride.bit_length() - 1
            fused = self.get_submodule(f"fpn_lateral{level}")(feature)
            if coarser is not None:
                # Each position gets the coarser one that it lies in, at odd sizes too.
                fused = fused + F.interpolate(coarser, size=fused.shape[-2:], mode="nearest")
                fused = fused / 2 if self._fuse_type == "avg" else fused
            outputs.insert(0, self.get_submodule(f"fpn_output{level}")(fused))
            coarser = fused
        return outputs

    @torch.no_grad()
    def _rounds_up(self, channels: int) -> bool:
        """Try a small image whose size is not whole at the coarser strides, in evaluation mode."""
        height, width = (self._strides[0] * side for side in _ODD_SIZE)
        device = next(self.bottom_up.parameters()).device
        training = self.bottom_up.training
        self.bottom_up.eval()
        try:
            features = self.bottom_up(torch.zeros(1, channels, height, width, device=device))
        except _FAILURES:
            return False
        finally:
            self.bottom_up.train(training)
        return all(
            tuple(features[name].shape[-2:]) == (-(-height // stride), -(-width // stride))
            for name, stride in zip(self.in_features, self._strides, strict=True)
        )
