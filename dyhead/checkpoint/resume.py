"""Decides, before anything is loaded, whether a run can go on from a checkpoint.

PyTorch's fused optimizers do not look at the shapes of their state: a step with that of another
model writes beyond its memory. So whatever does not belong to the very same model, optimizer and
parameters is refused here.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from dyhead.checkpoint.finite import names_of_bad_values
from dyhead.checkpoint.import_report import compare
from dyhead.errors import first_few

_SHOWN = 3
_LIKE_PARAMETERS = ("momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")
_KINDS = (("betas", "AdamW"), ("momentum", "SGD"))  # by an option that the others lack


def check_weights(saved: Mapping[str, Any], model: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that are not exactly the model's.

    Args:
        saved: the file's weights by name.
        model: the model's `state_dict()`.

    Raises:
        ValueError: a weight is missing, is not the model's, has another shape or is not finite.
    """
    report = compare("", {name.removeprefix("module."): w for name, w in saved.items()}, model)
    if report.other_shape:
        name, (theirs, ours) = next(iter(report.other_shape.items()))
        raise ValueError(
            f"its weight {name} has the shape {theirs}, and the model's has {ours}"
            f"{_and_more(len(report.other_shape))}"
        )
    for names, kind in ((report.missing, "lacks {}"), (report.unexpected, "has {} further")):
        if names:
            raise ValueError(f"it {kind.format(len(names))} weights ({first_few(names, _SHOWN)})")
    if bad := list(names_of_bad_values(dict(saved))):
        raise ValueError(
            f"it holds NaN or infinite values in {len(bad)} weights ({first_few(bad, _SHOWN)})"
        )


def check_optimizer(
    saved: Any, optimizer: Optimizer, names: Mapping[nn.Parameter, str], saved_names: Any = None
) -> None:
    """Refuse an optimizer's state that does not fit each of its parameters.

    Args:
        saved: the file's `state_dict()` of an optimizer.
        optimizer: which is to take it.
        names: of the optimizer's parameters.
        saved_names: of the parameters that `saved` belongs to, in the order of the optimizer, where
            the file tells it.

    Raises:
        ValueError: it is another optimizer's, its parameters are grouped otherwise, or the state of
            one is incomplete or has another shape.
    """
    if not (isinstance(saved, Mapping) and {"state", "param_groups"} <= saved.keys()):
        raise ValueError("its state of the optimizer is incomplete")
    ours = [names.get(p, "?") for group in optimizer.param_groups for p in group["params"]]
    _check_kind(saved["param_groups"], optimizer)
    _check_grouping(saved["param_groups"], optimizer)
    _check_order(saved_names, ours)
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    indices = [(i, _needed(optimizer, g)) for g in saved["param_groups"] for i in g["params"]]
    for (index, needed), name, parameter in zip(indices, ours, parameters, strict=True):
        _check_state(saved["state"].get(index, {}), needed, name, parameter)


def _needed(optimizer: Optimizer, group: Mapping[str, Any]) -> Sequence[str]:
    """Return what the optimizer's next step reads of a parameter that has any state."""
    if not isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        return ()
    return ("step", *_LIKE_PARAMETERS[1 : 4 if group.get("amsgrad") else 3])


def _check_kind(groups: Any, optimizer: Optimizer) -> None:
    if not isinstance(groups, list) or not all(isinstance(group, Mapping) for group in groups):
        raise ValueError("its state of the optimizer is incomplete")
    theirs, ours = _kind(groups[0] if groups else {}), _kind(optimizer.param_groups[0])
    if theirs != ours:
        raise ValueError(f"its state is that of the optimizer {theirs}, and the run has {ours}")


def _kind(group: Mapping[str, Any]) -> str:
    return next((name for option, name in _KINDS if option in group), "of another kind")


def _check_grouping(groups: Sequence[Mapping[str, Any]], optimizer: Optimizer) -> None:
    theirs = [len(group.get("params", ())) for group in groups]
    ours = [len(group["params"]) for group in optimizer.param_groups]
    if theirs != ours:
        raise ValueError(
            f"its optimizer has {sum(theirs)} parameters in groups of {theirs}, and the run's has"
            f" {sum(ours)} in groups of {ours}: keep the model as it was, and in SOLVER"
            " WEIGHT_DECAY_*, BACKBONE_LR_DECAY and which *_LR_FACTOR are 1"
        )


def _check_order(saved_names: Any, ours: Sequence[str]) -> None:
    if saved_names is None:
        return
    for theirs, own in zip_longest(saved_names, ours):
        if theirs != own:
            raise ValueError(f"its optimizer has {theirs} where the run's has {own}")


def _check_state(
    state: Mapping[str, Any], needed: Sequence[str], name: str, parameter: torch.Tensor
) -> None:
    for key, value in state.items():
        if not isinstance(value, torch.Tensor):
            continue
        if (value.dim() or key in _LIKE_PARAMETERS) and value.shape != parameter.shape:
            raise ValueError(
                f"the optimizer's {key} of {name} has the shape {tuple(value.shape)}, and the"
                f" parameter has {tuple(parameter.shape)}"
            )
    missing = [key for key in needed if not isinstance(state.get(key), torch.Tensor)]
    if state and missing:
        raise ValueError(f"its state of the optimizer lacks {missing[0]} for {name}")


def _and_more(number: int) -> str:
    return f" (and {number - 1} more differ)" if number > 1 else ""
