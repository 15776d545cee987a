"""The official code itself, from a checkout, with torchvision's operator for its CUDA one.

It needs genuine Detectron2, which it is written for. Its packages are called `dyhead` and `extra`,
and it registers names that we register too, so it is loaded beside ours with care.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from fvcore.common.registry import Registry
from torch import Tensor, nn
from torchvision.ops import deform_conv2d, sigmoid_focal_loss

_PACKAGES = ("dyhead", "extra")


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
        classes = torch.arange(1, logits.shape[1] + 1, device=logits.device)
        targets = (labels[:, None] == classes).to(logits)
        return sigmoid_focal_loss(logits, targets, self.alpha, self.gamma, reduction="sum")


@contextmanager
def official_code(checkout: str) -> Iterator[ModuleType]:
    """Inside, the official `extra` package, and registries that hold what it registers."""
    from detectron2.modeling.backbone import build as backbone_build
    from detectron2.modeling.meta_arch import build as meta_arch_build

    ours = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_package(name)}
    path = [checkout, *sys.path]
    registries = [
        mock.patch.object(backbone_build, "BACKBONE_REGISTRY", Registry("BACKBONE")),
        mock.patch.object(meta_arch_build, "META_ARCH_REGISTRY", Registry("META_ARCH")),
    ]
    try:
        with mock.patch.object(sys, "path", path), registries[0], registries[1]:
            sys.modules["dyhead._C"] = ModuleType("dyhead._C")
            dyhead = _import_package("dyhead", checkout)
            dyhead._C = sys.modules["dyhead._C"]
            sys.modules["dyhead.dyhead"].ModulatedDeformConv = ModulatedDeformConv
            extra = _import_package("extra", checkout)
            sys.modules["extra.atss"].SigmoidFocalLoss = SigmoidFocalLoss
            extra.add_dyhead_config = dyhead.add_dyhead_config
            theirs = {
                name: sys.modules.pop(name) for name in list(sys.modules) if _is_package(name)
            }
            sys.modules.update(ours)
            yield extra
            del theirs
    finally:
        sys.modules.update(ours)


def build_official(checkout: str, config: str, changes: list[str]) -> nn.Module:
    """Build the model of an official YAML file with KEY VALUE overrides."""
    from detectron2.config import CfgNode, get_cfg
    from detectron2.modeling import build_model

    from dyhead.safe_io.yaml import load_yaml_with_base

    values: dict[str, Any] = load_yaml_with_base(str(Path(checkout, "configs", config)))
    with official_code(checkout) as extra:
        cfg = get_cfg()
        extra.add_dyhead_config(cfg)
        extra.add_extra_config(cfg)
        cfg.merge_from_other_cfg(CfgNode(values))
        cfg.merge_from_list(changes)
        return build_model(cfg)


def _is_package(name: str) -> bool:
    return name.split(".")[0] in _PACKAGES


def _import_package(name: str, checkout: str) -> Any:
    package = importlib.import_module(name)
    assert package.__file__ and Path(package.__file__).is_relative_to(checkout), package.__file__
    return package
