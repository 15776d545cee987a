"""Writes detectors as ONNX models and as programs of torch.export, and checks what it wrote."""

import contextlib
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.fx.experimental._config
from torch.export import Dim, ExportedProgram

from dyhead.checkpoint.model_card import CARD_KEY
from dyhead.data.model_input import colour_order
from dyhead.detector import ReadyDetector
from dyhead.errors import UserError, user_errors
from dyhead.export.check import Check, Session, compare
from dyhead.export.extra import PACKAGES, import_extra
from dyhead.export.graph import INPUT_NAME, DetectionGraph
from dyhead.export.metadata import build_metadata
from dyhead.export.onnx_runner import open_session
from dyhead.export.recordable import recordable
from dyhead.export.translation import MIN_OPSET, translation_table

logger = logging.getLogger(__name__)

EXTRA_FILE = "dyhead.json"  # of a .pt2 file: the metadata
MIN_PYTORCH = (2, 10)


def export_onnx(
    ready: ReadyDetector,
    path: str | os.PathLike[str],
    *,
    pictures: Sequence[np.ndarray],
    opset: int = MIN_OPSET,
    with_nms: bool = True,
) -> Check:
    """Write a detector as an ONNX model of standard operators.

    Args:
        ready: on the CPU, in float32; see `dyhead.detector.load_detector`.
        path: ends in .onnx; it appears only when it is whole and computes what the detector does.
        pictures: (H, W, C), uint8, as resized for the detector, in its order of channels: file and
            detector are compared on them, see `compare`.
        opset: 20 or more.
        with_nms: give detections; else the input of non-maximum suppression.

    Returns:
        the deviation of the file from the detector.

    Raises:
        UserError: a package is missing, the detector cannot be exported, or the file would compute
            something else.
    """
    if opset < MIN_OPSET:
        raise UserError(f"--opset is {opset}: DeformConv needs {MIN_OPSET} or more.")
    for package in PACKAGES:
        import_extra(package)
    path = _checked_path(path, ".onnx")
    graph = _make_graph(ready, with_nms)
    program = _record(graph)

    def write(target: Path) -> None:
        _write_onnx(program, graph.outputs, build_metadata(ready, graph), target, opset)

    return _write_and_check(ready, graph, path, write, _open_onnx, pictures)


def export_torch(
    ready: ReadyDetector,
    path: str | os.PathLike[str],
    *,
    pictures: Sequence[np.ndarray],
    with_nms: bool = True,
) -> Check:
    """Write a detector as a program of torch.export; arguments and errors as `export_onnx`.

    Whoever loads it (`torch.export.load`) imports `dyhead.ops` first, which registers the
    project's operators.

    Args:
        ready, pictures, with_nms: see `export_onnx`.
        path: ends in .pt2.
    """
    path = _checked_path(path, ".pt2")
    graph = _make_graph(ready, with_nms)
    program = _record(graph)
    # PyTorch 2.9 and later would let the program assert the recorded layouts of memory, such as a
    # batch of one being channels_last. No value depends on them, as the comparison shows.
    program._guards_code = []

    def write(target: Path) -> None:
        extra = {EXTRA_FILE: build_metadata(ready, graph)}
        with recordable(graph.model):  # weights in the layout that was recorded
            torch.export.save(program, target, extra_files=extra)

    return _write_and_check(ready, graph, path, write, _open_torch, pictures)


def _checked_path(path: str | os.PathLike[str], ending: str) -> Path:
    path = Path(path)
    if path.suffix.lower() != ending:
        raise UserError(f"{path} has the ending {path.suffix!r}: choose {ending}.")
    return path


def _make_graph(ready: ReadyDetector, with_nms: bool) -> DetectionGraph:
    """Make the graph of a detector, and refuse options that a graph cannot express.

    Raises:
        UserError: the config has such an option, or this PyTorch cannot record the graph.
    """
    check_pytorch()
    graph = DetectionGraph(ready.model, with_nms).eval()
    test, execution = ready.cfg.TEST, ready.cfg.MODEL
    unusable = [
        (test.AUG.ENABLED, "TEST.AUG.ENABLED", False, "testing at several scales"),
        (test.PRECISION != "float32", "TEST.PRECISION", "float32", "a test in 16 bits"),
        (
            ready.cfg.FLOAT32_PRECISION not in ("", "highest"),
            "FLOAT32_PRECISION",
            "highest",
            "TF32",
        ),
        (execution.COMPILE.ENABLED, "MODEL.COMPILE.ENABLED", False, "a compiled model"),
        (execution.DEVICE != "cpu", "MODEL.DEVICE", "cpu", "a model on a GPU"),
    ]
    colour_order(ready.cfg)  # refuses what is read as no colour picture
    for is_set, key, value, what in unusable:
        if is_set:
            raise UserError(f"{key}: {what} cannot be exported; add {key} {value}.")
    return graph


def _record(graph: DetectionGraph) -> ExportedProgram:
    """Record the graph for pictures of any number and size.

    Raises:
        UserError: PyTorch cannot record it, as a part of the model binds it to certain sizes.
    """
    # Any sizes will do, if they differ, and no level is one pixel wide.
    side = max(graph.size_divisibility, graph.coarsest_stride)
    shape = 2, len(graph.model.pixel_mean), 3 * side - 5, 2 * side - 3
    dimensions = {0: Dim("batch", min=1), 2: Dim("height", min=1), 3: Dim("width", min=1)}
    images = torch.zeros(shape, dtype=torch.uint8)
    options: Any = torch.fx.experimental._config
    sizes_of_one_are_as_others = options.patch(backed_size_oblivious=True)
    logger.info("Recording the detector with torch.export ...")
    try:
        with recordable(graph.model), torch.no_grad(), sizes_of_one_are_as_others:
            return torch.export.export(
                graph, (images,), dynamic_shapes={INPUT_NAME: dimensions}, strict=False
            )
    except (torch._dynamo.exc.UserError, RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{type(graph.model).__name__} on this backbone cannot be recorded for pictures of any"
            f" size: {reason}"
        ) from error


def check_pytorch() -> None:
    """Refuse versions of PyTorch whose torch.export binds what it records to some sizes."""
    current = torch.__version__.split("+")[0]
    if tuple(map(int, current.split(".")[:2])) < MIN_PYTORCH:
        needed = ".".join(map(str, MIN_PYTORCH))
        raise UserError(
            f"Exporting needs PyTorch {needed} or later, and this is {current}: install a later one"
            " for the export; checkpoints and exported ONNX models do not depend on it."
        )


def _write_onnx(
    program: ExportedProgram, outputs: Sequence[str], metadata: str, path: Path, opset: int
) -> None:
    logger.info("Translating it to ONNX, opset %d ...", opset)
    with _quiet_exporter():
        translated: Any = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=opset,
            custom_translation_table=translation_table(),
            input_names=[INPUT_NAME],
            output_names=list(outputs),
            dynamic_shapes={INPUT_NAME: {0: "batch", 2: "height", 3: "width"}},
            external_data=False,
            optimize=False,  # takes longer than all else, and runs no faster
            verbose=False,
        )
        optimizer = import_extra("onnxscript").optimizer
        optimizer.fold_constants(translated.model)
        optimizer.remove_unused_nodes(translated.model)
        translated.model.metadata_props[CARD_KEY] = metadata
        translated.save(str(path))
    _check_standard(path, opset)


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the exporter's warnings about its own libraries."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)


def _check_standard(path: Path, opset: int) -> None:
    """Check that a model is valid, of one opset, and free of custom operators."""
    onnx = import_extra("onnx")
    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets.get("") != opset or {node.domain for node in model.graph.node} != {""}:
        raise UserError(
            f"PyTorch {torch.__version__} gives an ONNX model with the operator sets {opsets} in"
            f" the place of opset {opset}: choose --opset {opsets.get('', MIN_OPSET)}."
        )


def _write_and_check(
    ready: ReadyDetector,
    graph: DetectionGraph,
    path: Path,
    write: Callable[[Path], None],
    open_file: Callable[[Path], Session],
    pictures: Sequence[np.ndarray],
) -> Check:
    """Write beside `path`, compare, and rename only when the file equals the detector."""
    with user_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent)
    with scratch as folder:
        written = Path(folder) / f"model{path.suffix}"
        write(written)
        logger.info("Comparing file and detector ...")
        check = compare(ready.model, graph, open_file(written), pictures)
        check.require_equal(str(path))
        with user_errors(str(path)):
            os.replace(written, path)
    return check


def _open_onnx(path: Path) -> Session:
    session = open_session(path, ["CPUExecutionProvider"])
    return lambda images: session.run(None, {INPUT_NAME: images})


def _open_torch(path: Path) -> Session:
    module = torch.export.load(path).module()

    def run(images: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            return [output.numpy() for output in module(torch.from_numpy(images))]

    return run
