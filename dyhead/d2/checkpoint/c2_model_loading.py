"""Fitting weights with other names to a model: Caffe2's names, and matching by suffix."""

import logging
import os.path
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

logger = logging.getLogger("detectron2.checkpoint.c2_model_loading")

# Applied in this order to a Caffe2 name whose "_" have become "." already.
_C2_RULES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^pred\.([bw])$", r"linear.\1"),  # the ImageNet classifier
        (r"bn\.(s|gamma)$", "norm.weight"),
        (r"bn\.(b|beta)$", "norm.bias"),
        (r"bn\.(rm|running\.mean)$", "norm.running_mean"),
        (r"bn\.(riv|running\.var)$", "norm.running_var"),
        (r"gn\.s$", "norm.weight"),
        (r"gn\.b$", "norm.bias"),
        (r"\.b$", ".bias"),
        (r"\.w$", ".weight"),
        (r"^res\.conv1\.norm\.", "conv1.norm."),
        (r"^conv1\.", "stem.conv1."),
        (r"\.branch1\.", ".shortcut."),
        (r"\.branch2a\.", ".conv1."),
        (r"\.branch2b\.", ".conv2."),
        (r"\.branch2c\.", ".conv3."),
    )
]


def convert_basic_c2_names(original_keys: list[str]) -> list[str]:
    """Detectron2's names for the weights of a Caffe2 ResNet, in the same order."""
    return [_convert_c2_name(key) for key in original_keys]


def _convert_c2_name(name: str) -> str:
    name = name.replace("_", ".")
    for pattern, replacement in _C2_RULES:
        name = pattern.sub(replacement, name)
    return name


def convert_c2_detectron_names(
    weights: Mapping[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The weights under Detectron2's names, and the original name of each of these.

    Raises:
        ValueError: two weights end up under one name.
    """
    originals: dict[str, str] = {}
    for key in sorted(weights):
        renamed = _convert_c2_name(key)
        if renamed in originals:
            raise ValueError(f"Caffe2 weights {originals[renamed]} and {key} are both {renamed}.")
        originals[renamed] = key
    return {renamed: weights[key] for renamed, key in originals.items()}, originals


def align_and_update_state_dicts(
    model_state_dict: Mapping[str, torch.Tensor],
    ckpt_state_dict: Mapping[str, torch.Tensor],
    c2_conversion: bool = True,
) -> dict[str, torch.Tensor]:
    """Rename checkpoint weights to the model's names, which may have more modules in front.

    Each weight of the model takes the longest checkpoint name that is its own name or a suffix of
    it at a dot: `backbone.res2.conv1.weight` takes `res2.conv1.weight` before `conv1.weight`. A
    weight of another shape is skipped with a warning. What matches nothing keeps its name.

    Args:
        model_state_dict: the names and shapes wanted.
        ckpt_state_dict: the weights that there are.
        c2_conversion: convert Caffe2's names first.

    Raises:
        ValueError: one checkpoint weight fits two weights of the model.
    """
    weights = dict(ckpt_state_dict)
    if c2_conversion:
        weights, _ = convert_c2_detectron_names(weights)

    matched: dict[str, str] = {}  # checkpoint name -> model name
    for model_key in sorted(model_state_dict):
        key = _longest_suffix(model_key, weights)
        if key is None or not _shapes_agree(key, weights, model_key, model_state_dict):
            continue
        if key in matched:
            raise ValueError(f"Checkpoint weight {key} fits both {matched[key]} and {model_key}.")
        matched[key] = model_key
    _log_matches(matched, len(weights), len(model_state_dict))
    return {matched.get(key, key): weight for key, weight in weights.items()}


def _longest_suffix(model_key: str, names: Mapping[str, Any]) -> str | None:
    parts = model_key.split(".")
    suffixes = (".".join(parts[start:]) for start in range(len(parts)))
    return next((suffix for suffix in suffixes if suffix in names), None)


def _shapes_agree(
    key: str,
    weights: Mapping[str, torch.Tensor],
    model_key: str,
    model_weights: Mapping[str, torch.Tensor],
) -> bool:
    shape, wanted = tuple(weights[key].shape), tuple(model_weights[model_key].shape)
    if shape != wanted:
        logger.warning(
            "Not loading %s: its shape %s in the checkpoint is not %s's %s in the model.",
            key,
            shape,
            model_key,
            wanted,
        )
    return shape == wanted


def _log_matches(matched: Mapping[str, str], num_weights: int, num_wanted: int) -> None:
    if not matched:
        logger.warning("None of the checkpoint's weights fits the model: it stays as made.")
        return
    prefix = _longest_common_prefix_str(matched.values()).rpartition(".")[0] or "the model"
    logger.info(
        "%d of the checkpoint's %d weights fit %s, which leaves %d of the model's weights as made.",
        len(matched),
        num_weights,
        prefix,
        num_wanted - len(matched),
    )


def _longest_common_prefix_str(names: Iterable[str]) -> str:
    return os.path.commonprefix(list(names))
