"""The optimizer that a config asks for."""

from typing import Any

import torch
from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.solver import get_default_optimizer_params
from dyhead.d2.solver.build import maybe_add_gradient_clipping
from dyhead.errors import UserError


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build `SOLVER.OPTIMIZER` with Detectron2's parameter groups and gradient clipping.

    Normalisation layers get WEIGHT_DECAY_NORM, biases WEIGHT_DECAY_BIAS and BIAS_LR_FACTOR.
    `SOLVER.CLIP_GRADIENTS.CLIP_TYPE` is "value" or "norm" (each parameter by itself, as in
    Detectron2) or "full_model" (the norm over all parameters together, as official DyHead adds).

    Raises:
        UserError: OPTIMIZER or CLIP_TYPE names none of these.
    """
    groups = get_default_optimizer_params(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
    )
    return _add_gradient_clipping(cfg, _create_optimizer(cfg, groups))


def _create_optimizer(cfg: CfgNode, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    solver = cfg.SOLVER
    if solver.OPTIMIZER == "SGD":
        return torch.optim.SGD(
            groups,
            lr=solver.BASE_LR,
            momentum=solver.MOMENTUM,
            nesterov=solver.NESTEROV,
            weight_decay=solver.WEIGHT_DECAY,
        )
    if solver.OPTIMIZER == "ADAMW":
        return torch.optim.AdamW(groups, lr=solver.BASE_LR, weight_decay=solver.WEIGHT_DECAY)
    raise UserError(f"SOLVER.OPTIMIZER {solver.OPTIMIZER!r} is unknown: use SGD or ADAMW.")


def _add_gradient_clipping(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED:
        return optimizer
    if clip.CLIP_TYPE in ("value", "norm"):
        return maybe_add_gradient_clipping(cfg, optimizer)
    if clip.CLIP_TYPE != "full_model":
        raise UserError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE {clip.CLIP_TYPE!r} is unknown: use value, norm or"
            " full_model."
        )
    max_norm, norm_type = clip.CLIP_VALUE, clip.NORM_TYPE

    def clip_full_model(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)

    optimizer.register_step_pre_hook(clip_full_model)
    return optimizer
