"""The optimizer that a config asks for."""

from typing import Any

import torch
from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.solver import get_default_optimizer_params
from dyhead.d2.solver.build import maybe_add_gradient_clipping
from dyhead.engine.rate_factors import rate_factors, scale_rates
from dyhead.errors import UserError


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build `SOLVER.OPTIMIZER` with Detectron2's parameter groups and gradient clipping.

    Normalisation layers get WEIGHT_DECAY_NORM, biases WEIGHT_DECAY_BIAS and BIAS_LR_FACTOR; the
    factors of BACKBONE_LR_FACTOR, BACKBONE_LR_DECAY, DYHEAD_LR_FACTOR and OFFSET_LR_FACTOR multiply
    what follows.
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
    groups = scale_rates(groups, rate_factors(cfg, model))
    return _add_gradient_clipping(cfg, _create_optimizer(cfg, groups))


def _create_optimizer(cfg: CfgNode, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    solver = cfg.SOLVER
    # On a CPU PyTorch would go through memory once per term of the update; on a GPU it chooses well
    # by itself.
    fused = all(p.device.type == "cpu" for group in groups for p in group["params"]) or None
    optimizer: torch.optim.Optimizer
    if solver.OPTIMIZER == "SGD":
        optimizer = torch.optim.SGD(
            groups,
            lr=solver.BASE_LR,
            momentum=solver.MOMENTUM,
            nesterov=solver.NESTEROV,
            weight_decay=solver.WEIGHT_DECAY,
            fused=fused,
        )
    elif solver.OPTIMIZER == "ADAMW":
        optimizer = torch.optim.AdamW(
            groups, lr=solver.BASE_LR, weight_decay=solver.WEIGHT_DECAY, fused=fused
        )
    else:
        raise UserError(f"SOLVER.OPTIMIZER {solver.OPTIMIZER!r} is unknown: use SGD or ADAMW.")
    if fused:
        # Else a GradScaler would leave undoing the scale to the kernel, after the clipping.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        optimizer.register_step_pre_hook(match_layouts)
        optimizer.register_step_pre_hook(begin_momenta)

    def keep_fused(optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["fused"] = fused  # a checkpoint brings that of the device where it was written

    optimizer.register_load_state_dict_post_hook(keep_fused)
    return optimizer


def begin_momenta(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Give a momentum of zero to a parameter whose first gradient comes later than others'.

    PyTorch's fused SGD takes all momenta of a group to be there, or none.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        moving = [p for p in group["params"] if p.grad is not None and group["momentum"]]
        begun = [optimizer.state[p].get("momentum_buffer") is not None for p in moving]
        if any(begun):
            for parameter, has_begun in zip(moving, begun, strict=True):
                if not has_begun:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def match_layouts(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Bring gradients and the optimizer's state into the memory layout of their parameters.

    PyTorch's fused CPU kernels take all of them to lie alike and would mix elements up otherwise,
    without a word: after a checkpoint of a model that was not in channels_last, for one.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad = _laid_out_as(parameter, parameter.grad)
            state = optimizer.state.get(parameter, {})
            for name, value in state.items():
                if torch.is_tensor(value) and value.shape == parameter.shape:
                    state[name] = _laid_out_as(parameter, value)


def _laid_out_as(parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.stride() == parameter.stride():
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


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
