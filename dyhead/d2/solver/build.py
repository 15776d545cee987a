"""Optimizer and learning rate schedule from the keys under cfg.SOLVER."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from fvcore.common.param_scheduler import (
    CosineParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
    StepWithFixedGammaParamScheduler,
)
from torch import nn
from torch.optim import Optimizer

from ..config import CfgNode
from .lr_scheduler import LRMultiplier, LRScheduler, WarmupParamScheduler
from .parameter_groups import (
    _expand_param_groups,
    get_default_optimizer_params,
    reduce_param_groups,
)

__all__ = [
    "_expand_param_groups",
    "build_lr_scheduler",
    "build_optimizer",
    "get_default_optimizer_params",
    "maybe_add_gradient_clipping",
    "reduce_param_groups",
]

logger = logging.getLogger("detectron2.solver.build")

OptimizerOrType = TypeVar("OptimizerOrType", Optimizer, type[Optimizer])


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """SGD over the trainable parameters of `model`, with gradient clipping if enabled."""
    solver = cfg.SOLVER
    groups = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
    )
    optimizer = torch.optim.SGD(
        groups,
        lr=solver.BASE_LR,
        momentum=solver.MOMENTUM,
        nesterov=solver.NESTEROV,
        weight_decay=solver.WEIGHT_DECAY,
        foreach=True,
    )
    return maybe_add_gradient_clipping(cfg, optimizer)


def maybe_add_gradient_clipping(cfg: CfgNode, optimizer: OptimizerOrType) -> OptimizerOrType:
    """The optimizer, or optimizer class, whose `step` first clips each parameter's gradient.

    Nothing changes unless cfg.SOLVER.CLIP_GRADIENTS.ENABLED. An instance is changed in place.

    Raises:
        ValueError: CLIP_TYPE is neither "value" nor "norm".
    """
    if not cfg.SOLVER.CLIP_GRADIENTS.ENABLED:
        return optimizer
    clip = _create_gradient_clipper(cfg.SOLVER.CLIP_GRADIENTS)
    if isinstance(optimizer, Optimizer):
        optimizer.__class__ = _clipping_type(type(optimizer), clip)
        return optimizer
    return _clipping_type(optimizer, clip)


def _create_gradient_clipper(cfg: CfgNode) -> Callable[[torch.Tensor], Any]:
    kind, limit, norm_type = cfg.CLIP_TYPE, cfg.CLIP_VALUE, cfg.NORM_TYPE
    if kind == "value":
        return lambda parameter: nn.utils.clip_grad_value_(parameter, limit)
    if kind == "norm":
        return lambda parameter: nn.utils.clip_grad_norm_(parameter, limit, norm_type)
    raise ValueError(f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is {kind!r}: use 'value' or 'norm'.")


def _clipping_type(base: type[Optimizer], clip: Callable[[torch.Tensor], Any]) -> type[Optimizer]:
    def step(self: Optimizer, closure: Callable[[], float] | None = None) -> float | None:
        for group in self.param_groups:
            for parameter in group["params"]:
                clip(parameter)
        return base.step(self, closure)  # type: ignore[arg-type]

    return type(f"{base.__name__}WithGradientClip", (base,), {"step": step})


def build_lr_scheduler(cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
    """The schedule that SOLVER.LR_SCHEDULER_NAME names, after the warm-up.

    Raises:
        ValueError: unknown name.
    """
    solver = cfg.SOLVER
    multiplier = WarmupParamScheduler(
        _build_multiplier(solver),
        solver.WARMUP_FACTOR,
        min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0),
        solver.WARMUP_METHOD,
        solver.RESCALE_INTERVAL,
    )
    return LRMultiplier(optimizer, multiplier, max_iter=solver.MAX_ITER)


def _build_multiplier(solver: CfgNode) -> ParamScheduler:
    name = solver.LR_SCHEDULER_NAME
    if name == "WarmupMultiStepLR":
        return _build_multi_step(solver)
    if name == "WarmupCosineLR":
        return CosineParamScheduler(1, solver.BASE_LR_END / solver.BASE_LR)
    if name == "WarmupStepWithFixedGammaLR":
        return _FixedDecays(
            base_value=1.0,
            gamma=solver.GAMMA,
            num_decays=solver.NUM_DECAYS,
            num_updates=solver.MAX_ITER,
        )
    raise ValueError(
        f"SOLVER.LR_SCHEDULER_NAME is {name!r}: use WarmupMultiStepLR, WarmupCosineLR or"
        " WarmupStepWithFixedGammaLR."
    )


class _FixedDecays(StepWithFixedGammaParamScheduler):
    """The schedule of fvcore, defined after the last iteration too: a trainer steps once more."""

    def __call__(self, where: float) -> float:
        return super().__call__(min(where, 1.0 - 2 * self.WHERE_EPSILON))


def _build_multi_step(solver: CfgNode) -> ParamScheduler:
    steps = [step for step in solver.STEPS if step < solver.MAX_ITER]
    if len(steps) < len(solver.STEPS):
        logger.warning(
            "SOLVER.STEPS %s: those not before SOLVER.MAX_ITER %d have no effect.",
            tuple(solver.STEPS),
            solver.MAX_ITER,
        )
    return MultiStepParamScheduler(
        values=[solver.GAMMA**k for k in range(len(steps) + 1)],
        milestones=steps,
        num_updates=solver.MAX_ITER,
    )
