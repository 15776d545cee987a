"""Learning rates of a model's parts, relative to the others'."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.layers import DyHeadStack
from dyhead.layers.spatial_attention import SpatialAttention
from dyhead.modeling.backbone.dyhead import block_options
from dyhead.modeling.backbone.stages import find_stages

_BOTTOM_UP = "bottom_up"  # Detectron2's name of what a pyramid stands on

logger = logging.getLogger(__name__)


def rate_factors(cfg: CfgNode, model: nn.Module) -> dict[nn.Parameter, float]:
    """Find the parameters whose rate SOLVER's factors change, each with its factor.

    BACKBONE_LR_FACTOR and BACKBONE_LR_DECAY are for the model that the pyramid stands on,
    DYHEAD_LR_FACTOR is for the blocks, OFFSET_LR_FACTOR for their convolutions that compute
    offsets and masks. A part that the model does not have is warned of, unless the config asks for
    a model without it: what it stands on may have the factor for models with blocks.
    """
    solver, options = cfg.SOLVER, block_options(cfg)
    wants_blocks = cfg.MODEL.DYHEAD.NUM_CONVS and options.has_attention
    factors: dict[nn.Parameter, float] = {}
    if (solver.BACKBONE_LR_FACTOR, solver.BACKBONE_LR_DECAY) != (1.0, 1.0):
        backbone = _bottom_up(model)
        if backbone is None:
            _warn("BACKBONE_LR_FACTOR and BACKBONE_LR_DECAY", "backbone below a pyramid")
        else:
            factors = _backbone_factors(cfg, backbone)
    if solver.DYHEAD_LR_FACTOR != 1.0:
        blocks = [p for m in model.modules() if isinstance(m, DyHeadStack) for p in m.parameters()]
        if not blocks and wants_blocks:
            _warn("DYHEAD_LR_FACTOR", "DyHead blocks")
        factors.update(dict.fromkeys(blocks, solver.DYHEAD_LR_FACTOR))
    if solver.OFFSET_LR_FACTOR != 1.0:
        attentions = (m for m in model.modules() if isinstance(m, SpatialAttention))
        convolutions = [m.offset_and_mask for m in attentions if m.offset_and_mask is not None]
        if not convolutions and wants_blocks and options.spatial_aware:
            _warn("OFFSET_LR_FACTOR", "DyHead blocks with offsets")
        for parameter in (p for m in convolutions for p in m.parameters()):
            factors[parameter] = solver.OFFSET_LR_FACTOR * factors.get(parameter, 1.0)
    return factors


def scale_rates(
    groups: list[dict[str, Any]], factors: Mapping[nn.Parameter, float]
) -> list[dict[str, Any]]:
    """Split parameter groups by the factors of their parameters, and multiply the rates.

    Args:
        groups: for an optimizer, each with its "lr".
        factors: of parameters; those that are not there keep their rate.
    """
    scaled = []
    for group in groups:
        parts: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            parts.setdefault(factors.get(parameter, 1.0), []).append(parameter)
        scaled += [{**group, "params": p, "lr": group["lr"] * f} for f, p in parts.items()]
    return scaled


def _bottom_up(model: nn.Module) -> Any:
    """Find the backbone below the pyramid; None where there is none."""
    found = (m for name, m in model.named_modules() if name.rpartition(".")[2] == _BOTTOM_UP)
    return next(found, None)


def _backbone_factors(cfg: CfgNode, backbone: Any) -> dict[nn.Parameter, float]:
    factor, decay = cfg.SOLVER.BACKBONE_LR_FACTOR, cfg.SOLVER.BACKBONE_LR_DECAY
    factors = dict.fromkeys(backbone.parameters(), factor)
    if decay != 1.0:
        stages = find_stages(backbone, len(cfg.MODEL.PIXEL_MEAN))
        for distance, stage in enumerate(reversed(stages)):
            factors.update(dict.fromkeys(stage, factor * decay**distance))
        logger.info(
            "Learning rates of the backbone's %d stages are, finest first, %s of SOLVER.BASE_LR.",
            len(stages),
            ", ".join(f"{factors[next(iter(stage))]:.3g}" for stage in stages),
        )
    return factors


def _warn(keys: str, part: str) -> None:
    logger.warning("SOLVER.%s: the model has no %s, so nothing is scaled.", keys, part)
