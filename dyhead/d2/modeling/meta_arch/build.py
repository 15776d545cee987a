"""The registry of meta-architectures."""

import torch
from torch import nn

from ...config import CfgNode, check_part
from ...utils.registry import Registry

META_ARCH_REGISTRY = Registry("META_ARCH")
META_ARCH_REGISTRY.__doc__ = """Modules (whole detectors) that are built from `(cfg)`."""


def build_model(cfg: CfgNode) -> nn.Module:
    """Build the detector registered as `cfg.MODEL.META_ARCHITECTURE`, on `cfg.MODEL.DEVICE`.

    Its weights are as initialized; loading MODEL.WEIGHTS is the checkpointer's part.

    Raises:
        ValueError: it is one that takes genuine Detectron2.
    """
    check_part(cfg, "MODEL.META_ARCHITECTURE", META_ARCH_REGISTRY)
    model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    return model.to(torch.device(cfg.MODEL.DEVICE))
