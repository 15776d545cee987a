"""Runs an exported ONNX model on pictures, through onnxruntime."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dyhead.checkpoint.model_card import CARD_KEY
from dyhead.data.model_input import resize
from dyhead.errors import UserError, user_errors
from dyhead.export.extra import import_extra
from dyhead.export.graph import INPUT_NAME
from dyhead.export.metadata import DETECTIONS, read_metadata
from dyhead.prediction.runner import RawDetections

MIN_ONNXRUNTIME = (1, 25)
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class OnnxRunner:
    """An ONNX model of `dyhead export` behind the interface `dyhead.prediction.runner.Runner`.

    Args:
        path: the .onnx file.
        device: "cpu", "cuda" or "cuda:1"; None takes a GPU where onnxruntime can use one.

    Raises:
        UserError: onnxruntime is missing or cannot use the device, or the file is no such model or
            was exported without non-maximum suppression.
    """

    def __init__(self, path: str | os.PathLike[str], device: str | None = None) -> None:
        providers = _providers(device)
        self._session = open_session(Path(path), providers)
        if device is not None and self._session.get_providers()[0] != _name(providers[0]):
            raise UserError(
                f"The device {device!r} was asked for, and onnxruntime cannot load its CUDA: use"
                " 'cpu', or install the CUDA and cuDNN that it needs."
            )
        metadata = self._session.get_modelmeta().custom_metadata_map
        if CARD_KEY not in metadata:
            raise UserError(f"{path} was not made by `dyhead export`: it has no model card.")
        with user_errors(str(path)):
            exported = read_metadata(metadata[CARD_KEY])
        if exported.outputs != DETECTIONS:
            raise UserError(
                f"{path} was exported without non-maximum suppression: export it again without"
                " --without-nms."
            )
        card = exported.card
        if card.input_format not in ("BGR", "RGB"):
            raise UserError(f"{path} takes no colour pictures, but {card.input_format}.")
        self.class_names = card.class_names
        self.category_ids = card.category_ids
        self.input_format: str = card.input_format
        self.min_size = card.min_size
        self.max_size = card.max_size

    def __call__(self, images: Sequence[np.ndarray]) -> list[RawDetections]:
        """Detect in a batch; see `Runner`. Pictures of one resized size are computed together."""
        resized = [resize(image, self.min_size, self.max_size) for image in images]
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(resized):
            groups.setdefault(image.shape, []).append(index)
        found: dict[int, RawDetections] = {}
        for indices in groups.values():
            batch = np.stack([resized[index].transpose(2, 0, 1) for index in indices])
            outputs = self._session.run(None, {INPUT_NAME: batch})
            for place, index in enumerate(indices):
                one = [output[place] for output in outputs]
                found[index] = _in_original(one, batch.shape[2:], images[index].shape[:2])
        return [found[index] for index in range(len(images))]


Provider = str | tuple[str, dict[str, Any]]  # of onnxruntime, with its options


def open_session(path: Path, providers: Sequence[Provider]) -> Any:
    """Open an onnxruntime.InferenceSession.

    Raises:
        UserError: onnxruntime is missing, or the file is no ONNX model that it can run.
    """
    onnxruntime = _import_onnxruntime()
    if not path.is_file():
        raise UserError(f"{path} does not exist: check the path.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings are about its own optimizations
    if threads := os.environ.get("OMP_NUM_THREADS", ""):
        options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime has errors of its own for each cause
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} cannot be run by onnxruntime: {reason}") from error


def _import_onnxruntime() -> ModuleType:
    onnxruntime = import_extra("onnxruntime")
    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < MIN_ONNXRUNTIME:
        needed = ".".join(map(str, MIN_ONNXRUNTIME))
        raise UserError(
            f"onnxruntime {onnxruntime.__version__} has no deformable convolution: install {needed}"
            " or later, which needs Python 3.11."
        )
    return onnxruntime


def _name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else provider[0]


def _providers(device: str | None) -> list[Provider]:
    """Translate a device into onnxruntime's names."""
    available = _import_onnxruntime().get_available_providers()
    if device == "cpu" or (device is None and _CUDA not in available):
        return [_CPU]
    name, _, index = (device or "cuda").partition(":")
    if name != "cuda" or not (index or "0").isdecimal():
        raise UserError(f"An ONNX model runs on 'cpu', 'cuda' or 'cuda:1', not on {device!r}.")
    if _CUDA not in available:
        raise UserError(
            f"The device {device!r} was asked for, but this onnxruntime has no CUDA: use 'cpu', or"
            " `pip install onnxruntime-gpu`."
        )
    return [(_CUDA, {"device_id": int(index or 0)}), _CPU]


def _in_original(
    outputs: Sequence[np.ndarray], resized: Sequence[int], original: Sequence[int]
) -> RawDetections:
    """Scale the detections of one picture to pixels of the picture as it was given."""
    boxes, scores, classes, count = outputs
    height, width = original
    scale = np.array([width / resized[1], height / resized[0]] * 2, dtype=np.float32)
    border = np.array([width, height] * 2, dtype=np.float32)
    found = np.minimum(boxes[:count] * scale, border)
    return RawDetections(found, scores[:count], classes[:count])
