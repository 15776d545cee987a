"""Parameter groups for an optimizer: which weight decay and learning rate each weight gets."""

from collections.abc import Callable
from typing import Any

from torch import nn

_NORM_TYPES = (
    nn.modules.batchnorm._BatchNorm,  # all BatchNorms, SyncBatchNorm and what derives from them
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


def get_default_optimizer_params(
    model: nn.Module,
    base_lr: float | None = None,
    weight_decay: float | None = None,
    weight_decay_norm: float | None = None,
    bias_lr_factor: float | None = 1.0,
    weight_decay_bias: float | None = None,
    lr_factor_func: Callable[[str], float] | None = None,
    overrides: dict[str, dict[str, float]] | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups of the trainable parameters of `model`, as few as the settings allow.

    Args:
        model: shared parameters count once; frozen ones are left out.
        base_lr: learning rate of every group; None leaves it to the optimizer.
        weight_decay: weight decay of every group; None leaves it to the optimizer.
        weight_decay_norm: weight decay of normalisation layers instead, if given.
        bias_lr_factor: multiplies the learning rate of parameters called "bias".
        weight_decay_bias: weight decay of parameters called "bias" instead, if given.
        lr_factor_func: multiplies the learning rate by a factor for the parameter's full name.
        overrides: settings by a parameter's own name, such as {"bias": {"lr": 0.1}}; they win.

    Raises:
        ValueError: a factor without `base_lr`, or "bias" set in two ways.
    """
    has_bias_factor = bias_lr_factor is not None and bias_lr_factor != 1.0
    if base_lr is None and (has_bias_factor or lr_factor_func is not None):
        raise ValueError("bias_lr_factor and lr_factor_func multiply base_lr: base_lr is missing.")
    defaults = _given(lr=base_lr, weight_decay=weight_decay)
    bias_lr = base_lr * bias_lr_factor if has_bias_factor else None  # type: ignore[operator]
    by_name = _add_bias_override(
        overrides or {}, _given(lr=bias_lr, weight_decay=weight_decay_bias)
    )

    groups: list[dict[str, Any]] = []
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            settings = dict(defaults)
            if weight_decay_norm is not None and isinstance(module, _NORM_TYPES):
                settings["weight_decay"] = weight_decay_norm
            if lr_factor_func is not None:
                settings["lr"] *= lr_factor_func(f"{module_name}.{name}")
            groups.append({"params": [parameter], **settings, **by_name.get(name, {})})
    return reduce_param_groups(_without_repeats(groups))


def _given(**settings: float | None) -> dict[str, float]:
    return {name: value for name, value in settings.items() if value is not None}


def _add_bias_override(
    overrides: dict[str, dict[str, float]], bias_settings: dict[str, float]
) -> dict[str, dict[str, float]]:
    if not bias_settings:
        return overrides
    if "bias" in overrides:
        raise ValueError(
            "overrides['bias'] cannot be combined with bias_lr_factor or weight_decay_bias."
        )
    return {**overrides, "bias": bias_settings}


def _without_repeats(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One-parameter groups, the first for each parameter: its first owner decides the settings."""
    first: dict[Any, dict[str, Any]] = {}
    for group in groups:
        first.setdefault(group["params"][0], group)
    return list(first.values())


def _expand_param_groups(params: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One group for each parameter; where one occurs again, later settings win."""
    expanded: dict[Any, dict[str, Any]] = {}
    for group in params:
        settings = {k: v for k, v in group.items() if k not in ("params", "param_names")}
        names = group.get("param_names")
        for index, parameter in enumerate(group["params"]):
            single = {"params": [parameter], **settings}
            if names is not None:
                single["param_names"] = [names[index]]
            expanded.setdefault(parameter, {}).update(single)
    return list(expanded.values())


def reduce_param_groups(params: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge parameters of equal settings into one group: few groups make a step fast."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for single in _expand_param_groups(params):
        lists = {k: single.pop(k) for k in ("params", "param_names") if k in single}
        group = merged.setdefault(tuple(single.items()), {**single})
        for key, values in lists.items():
            group.setdefault(key, []).extend(values)
    return list(merged.values())
