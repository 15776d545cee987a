"""Where in a checkpoint file its weights are: the layouts of the codes that write such files."""

import os
from typing import Any

import numpy as np
from torch import Tensor

from dyhead.safe_io.load import load_checkpoint_file


def load_weights(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint file safely, and bring it into Detectron2's form (see `unwrap`).

    Returns:
        {"model": names to tensors or arrays, ...}; other values among the weights are left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds more than plain data, or holds no weights.
    """
    checkpoint = unwrap(load_checkpoint_file(path))
    weights = checkpoint["model"]
    if isinstance(weights, dict):
        weights = {
            name: value
            for name, value in weights.items()
            if isinstance(name, str) and isinstance(value, (Tensor, np.ndarray))
        }
    if not weights or not isinstance(weights, dict):
        raise ValueError(f"Checkpoint {path} holds no weights by name: check MODEL.WEIGHTS.")
    return {**checkpoint, "model": weights}


def unwrap(data: dict[str, Any]) -> dict[str, Any]:
    """Bring what a file holds into Detectron2's form.

    Args:
        data: what `load_checkpoint_file` returned.

    Returns:
        {"model": names to weights, ...}. "__author__" and "matching_heuristics" tell Detectron2 to
        match the names by their endings. What else a training run saved stays only where it is
        the project's or Detectron2's own; other codes' optimizer states would mean nothing here.
    """
    if "model" in data:  # Detectron2's, its model zoo's, official DyHead's, Swin's
        return data
    if isinstance(data.get("model_state"), dict):  # pycls
        weights = _without_counters(data["model_state"])
        return {"model": weights, "__author__": "pycls", "matching_heuristics": True}
    if isinstance(data.get("state_dict"), dict):  # MMDetection's, timm's
        return {"model": data["state_dict"]}
    if isinstance(data.get("blobs"), dict) or _holds_arrays(data):
        return _from_caffe(data.get("blobs", data))
    return {"model": data}  # a bare state dict, as torchvision's


def _holds_arrays(data: dict[str, Any]) -> bool:
    return bool(data) and all(isinstance(value, np.ndarray) for value in data.values())


def _from_caffe(blobs: dict[str, Any]) -> dict[str, Any]:
    weights = {name: blob for name, blob in blobs.items() if not str(name).endswith("_momentum")}
    return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}


def _without_counters(weights: dict[str, Any]) -> dict[str, Any]:
    return {n: value for n, value in weights.items() if not str(n).endswith("num_batches_tracked")}
