"""Where in a checkpoint file its weights are: the layouts of the codes that write such files."""

from typing import Any

import numpy as np


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
    if "model_state" in data:  # pycls
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
    weights = {name: blob for name, blob in blobs.items() if not name.endswith("_momentum")}
    return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}


def _without_counters(weights: dict[str, Any]) -> dict[str, Any]:
    return {n: value for n, value in weights.items() if not n.endswith("num_batches_tracked")}
