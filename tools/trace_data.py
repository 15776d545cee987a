"""Traces the data's way through the code, for `tools/draw_code_tour.py`.

A tiny detector is trained for one step and evaluated, both under a profiler that records which
files of the package touch the pictures or what is computed from them, in the order of their calls.
"""

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.config import load_config
from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode
from dyhead.d2.engine import HookBase
from dyhead.data import fill_num_classes, register_datasets
from dyhead.data.shape_scenes import ShapesSpec
from dyhead.data.shapes import make_shapes
from dyhead.engine import Trainer

# Folders whose files are recorded, and their names in the record: the package and, where genuine
# Detectron2 is the host, that in the place of the embedded one.
FOLDERS = {str(Path(dyhead.__file__).parent) + os.sep: ""}
if HOST == "detectron2":
    FOLDERS[str(Path(sys.modules["detectron2"].__file__ or "").parent) + os.sep] = "d2/"


class DataTrace:
    """A record, made by the interpreter's profiler, of the package's files that touch data."""

    def __init__(self, weights: Iterable[torch.Tensor]) -> None:
        """Take all tensors that do not share memory with the model's `weights` for data."""
        self._weights = {tensor.untyped_storage().data_ptr() for tensor in weights}
        self._entered: dict[int, int] = {}  # running frames, by the number of their call
        self._calls = 0
        self._first_calls: dict[str, int] = {}
        self._has_begun = False

    @property
    def files(self) -> list[str]:
        """Paths below the package, in the order in which data reached them."""
        return sorted(self._first_calls, key=self._first_calls.__getitem__)

    def start(self) -> None:
        """Begin to record."""
        sys.setprofile(self._profile)

    def stop(self) -> None:
        """Record no more."""
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, result: Any) -> None:
        if event not in ("call", "return"):
            return
        file = frame.f_code.co_filename
        folder = next((folder for folder in FOLDERS if file.startswith(folder)), None)
        if folder is None:
            return
        if event == "call":
            self._calls += 1
            self._entered[id(frame)] = self._calls
        elif (call := self._entered.pop(id(frame), None)) is not None:
            # When it returns, all that it had in its hands is there to see; it counts from its
            # call on, so that a caller comes before those whom it hands the data to.
            name = FOLDERS[folder] + file.removeprefix(folder).replace(os.sep, "/")
            self._note(name, call, [*frame.f_locals.values(), result])

    def _note(self, name: str, call: int, values: list[Any]) -> None:
        self._has_begun |= any(_is_picture(value) for value in values)
        if self._has_begun and any(self._is_data(value) for value in values):
            self._first_calls[name] = min(call, self._first_calls.get(name, call))

    def _is_data(self, value: Any, depth: int = 3) -> bool:
        if isinstance(value, torch.Tensor):  # indices alone, as a sampler's, are no data
            is_content = value.is_floating_point() or value.dtype == torch.uint8
            return is_content and value.untyped_storage().data_ptr() not in self._weights
        if isinstance(value, list | tuple | dict) and depth:
            parts = value.values() if isinstance(value, dict) else value
            return any(self._is_data(part, depth - 1) for part in parts)
        return isinstance(value, np.ndarray) or ".structures." in type(value).__module__


def _is_picture(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 3


class _FirstStep(HookBase):
    """A hook that records the first step of a training."""

    def __init__(self, trace: DataTrace) -> None:
        self._trace = trace

    def before_step(self) -> None:
        """Begin with the first step."""
        if self.trainer.iter == 0:
            self._trace.start()

    def after_step(self) -> None:
        """End with the step."""
        self._trace.stop()


def trace_training(cfg: CfgNode) -> list[str]:
    """List the files that the first step of a training goes through."""
    trainer = Trainer(cfg)
    trace = DataTrace([*trainer.model.parameters(), *trainer.model.buffers()])
    trainer.register_hooks([_FirstStep(trace)])
    try:
        trainer.train()
    finally:
        trace.stop()
    return trace.files


def trace_evaluation(cfg: CfgNode) -> list[str]:
    """List the files that an evaluation goes through."""
    model = Trainer.build_model(cfg)
    trace = DataTrace([*model.parameters(), *model.buffers()])
    trace.start()
    try:
        Trainer.test(cfg, model)
    finally:
        trace.stop()
    return trace.files


def trace_tiny_detector() -> tuple[list[str], list[str]]:
    """Train and evaluate the quickstart's detector on four pictures; list the files of both."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = _tiny_config(Path(folder))
        return trace_training(cfg), trace_evaluation(cfg)


def _tiny_config(folder: Path) -> CfgNode:
    cfg, explicit_keys = load_config("quickstart", ["MODEL.ATSS.INFERENCE_TH", "0.0"])
    shapes = make_shapes(folder, ShapesSpec(num_train=2, num_val=2))
    parts = ("train", "val")
    files = [(shapes / "annotations" / f"instances_{part}.json", shapes / part) for part in parts]
    names = [f"tour_{part}" for part in parts]
    cfg.DATASETS.COCO_JSON = [[n, *map(str, f)] for n, f in zip(names, files, strict=True)]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (names[0],), (names[1],)
    cfg.MODEL.DEVICE, cfg.OUTPUT_DIR = "cpu", str(folder / "run")
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = cfg.SOLVER.MAX_ITER = 2
    cfg.TEST.EVAL_PERIOD = 0
    Path(cfg.OUTPUT_DIR).mkdir()
    register_datasets(cfg)
    fill_num_classes(cfg, explicit_keys)
    cfg.freeze()
    return cfg
