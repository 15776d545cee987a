"""The official DynamicHead's packages, from a checkout, with operators that run on CPUs too.

It is written for Detectron2, whose name has to be importable: genuine, or by `dyhead.d2_alias`. Its
packages are called `dyhead` and `extra`; ours of that name steps aside while they are imported.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d, sigmoid_focal_loss

from dyhead.d2 import HOST


class ModulatedDeformConv(nn.Module):
    """The official operator's parameters, initialisation and reading of the offsets."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int
    ) -> None:
        super().__init__()
        bound = (in_channels * kernel_size**2) ** -0.5
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.stride, self.padding = stride, padding

    def forward(self, input: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Convolve (N, C, H, W); maps larger than the output are read as flat buffers."""
        size = [(length - 1) // self.stride + 1 for length in input.shape[2:]]
        offset, mask = (
            maps.contiguous().flatten(1)[:, : count * size[0] * size[1]].view(-1, count, *size)
            for maps, count in ((offset, 18), (mask, 9))
        )
        return deform_conv2d(
            input, offset, self.weight, self.bias, self.stride, self.padding, mask=mask
        )


class SigmoidFocalLoss(nn.Module):
    """The official loss: labels 1 to K, 0 for background; a sum."""

    def __init__(self, gamma: float, alpha: float) -> None:
        super().__init__()
        self.gamma, self.alpha = gamma, alpha

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (R, K) logits and (R,) labels."""
        classes = torch.arange(1, logits.shape[1] + 1, device=logits.device)
        targets = (labels[:, None] == classes).to(logits)
        return sigmoid_focal_loss(logits, targets, self.alpha, self.gamma, reduction="sum")


class OfficialPackages(NamedTuple):
    """The two packages of a checkout."""

    dyhead: Any
    extra: Any


@contextmanager
def official_packages(checkout: str) -> Iterator[OfficialPackages]:
    """Import a checkout's packages; inside, the names `dyhead` and `extra` are theirs.

    Their compiled operators are replaced by torchvision's.
    """
    import detectron2

    # All of it now: the embedded host's modules cannot be found while our package is away.
    for module in pkgutil.walk_packages(detectron2.__path__, "detectron2."):
        if HOST == "embedded":
            importlib.import_module(module.name)
    ours = _take_out()
    try:
        with mock.patch.object(sys, "path", [checkout, *sys.path]):
            compiled = sys.modules["dyhead._C"] = ModuleType("dyhead._C")
            dyhead = _import_package("dyhead", checkout)
            dyhead._C = compiled
            sys.modules["dyhead.dyhead"].ModulatedDeformConv = ModulatedDeformConv  # type: ignore[attr-defined]
            extra = _import_package("extra", checkout)
            sys.modules["extra.atss"].SigmoidFocalLoss = SigmoidFocalLoss  # type: ignore[attr-defined]
            yield OfficialPackages(dyhead, extra)
    finally:
        _take_out()
        sys.modules.update(ours)


def _take_out() -> dict[str, ModuleType]:
    """Remove the modules of these names, and return them."""
    names = [name for name in sys.modules if name.split(".")[0] in ("dyhead", "extra")]
    return {name: sys.modules.pop(name) for name in names}


def _import_package(name: str, checkout: str) -> Any:
    package = importlib.import_module(name)
    assert package.__file__ and Path(package.__file__).is_relative_to(checkout), package.__file__
    return package
