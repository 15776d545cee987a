"""An exported ONNX model is the detector, for any number and size of pictures."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from dyhead.detector import load_detector
from dyhead.errors import UserError
from dyhead.prediction import Detector
from dyhead.prediction.torch_runner import TorchRunner

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

from dyhead.export import OnnxRunner, export_onnx  # noqa: E402
from dyhead.export.check import compare  # noqa: E402
from dyhead.export.graph import DetectionGraph  # noqa: E402


@pytest.fixture(scope="module")
def exported(ready, pictures, tmp_path_factory):
    """The file and what its comparison found."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return path, export_onnx(ready, path, pictures=pictures)


@pytest.fixture(scope="module")
def session(exported):
    inner = onnxruntime.InferenceSession(str(exported[0]), providers=["CPUExecutionProvider"])
    return lambda images: inner.run(None, {"images": images})


def test_file_and_detector_were_compared(exported, pictures):
    path, check = exported
    assert check.compared > 20 and check.unpartnered <= check.allowed_unpartnered
    assert 0 <= check.pixels < 1e-2 and 0 <= check.score < 1e-4
    assert check.batches == [(1, 64, 64), (2, 48, 48), (1, 96, 130), (2, 72, 97)]
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]


def test_it_has_standard_operators_alone(exported):
    model = onnx.load(str(exported[0]))
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    assert not model.functions
    operators = {node.op_type for node in model.graph.node}
    assert operators >= {"DeformConv", "NonMaxSuppression"}


def test_sizes_that_vary_have_names(exported):
    inner = onnxruntime.InferenceSession(str(exported[0]), providers=["CPUExecutionProvider"])
    (images,) = inner.get_inputs()
    assert images.shape == ["batch", 3, "height", "width"]
    assert inner.get_outputs()[0].shape == ["batch", 100, 4]


def test_it_says_what_it_is(exported, ready):
    properties = onnx.load(str(exported[0])).metadata_props
    metadata = json.loads({entry.key: entry.value for entry in properties}["dyhead"])
    assert metadata["class_names"] == ["cat", "dog", "cow"]
    assert metadata["category_ids"] == [4, 9, 11]
    assert (metadata["min_size"], metadata["max_size"]) == (96, 160)
    assert metadata["input_format"] == "BGR"
    assert metadata["pixel_mean"] == pytest.approx(list(ready.cfg.MODEL.PIXEL_MEAN))
    assert metadata["size_divisibility"] == 32
    assert metadata["architecture"] == "ATSS"
    assert "META_ARCHITECTURE: ATSS" in metadata["config"]


@pytest.mark.parametrize(
    "shape",
    [(1, 8, 9), (3, 64, 200), (2, 128, 128), (1, 300, 129)],
    ids=["smaller than a cell", "wide", "whole cells", "high"],
)
def test_pictures_of_sizes_that_it_never_saw(ready, session, make_picture, shape):
    count, height, width = shape
    images = np.stack(
        [make_picture(height, width, seed).transpose(2, 0, 1) for seed in range(count)]
    )
    boxes, scores, classes, counts = session(np.ascontiguousarray(images))
    with torch.no_grad():
        expected = ready.model([{"image": torch.from_numpy(image)} for image in images])
    for index, output in enumerate(expected):
        found = output["instances"]
        assert counts[index] == len(found) > 0
        np.testing.assert_allclose(boxes[index, : len(found)], found.pred_boxes.tensor, atol=1e-2)
        np.testing.assert_allclose(scores[index, : len(found)], found.scores, atol=1e-4)
        np.testing.assert_array_equal(classes[index, : len(found)], found.pred_classes)


def test_the_runner_gives_what_the_detector_gives(exported, ready, make_picture):
    """Pictures of several sizes, two of which become the same when they are resized."""
    images = [make_picture(*size) for size in ((70, 70), (200, 90), (96, 96), (140, 140))]
    runner, expected_runner = OnnxRunner(exported[0], device="cpu"), TorchRunner(ready)
    for name in ("class_names", "category_ids", "input_format", "min_size", "max_size"):
        assert getattr(runner, name) == getattr(expected_runner, name)
    for found, expected in zip(runner(images), expected_runner(images), strict=True):
        assert len(expected.scores) > 0
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        np.testing.assert_array_equal(found.class_ids, expected.class_ids)
        assert [part.dtype for part in found] == [part.dtype for part in expected]


def test_detector_takes_it(exported, run, make_picture):
    picture = make_picture(80, 120)
    found = Detector(exported[0], device="cpu", threshold=0.2)(picture)
    expected = Detector(run, device="cpu", threshold=0.2)(picture)
    assert found.class_names == ("cat", "dog", "cow")
    assert len(expected.boxes) > 0
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)


def test_a_file_that_computes_something_else_is_found_out(ready, run, session, pictures):
    other = load_detector(run, device="cpu")
    other.model.head.bbox_pred.bias.data += 0.01
    check = compare(other.model, DetectionGraph(other.model), session, pictures)
    with pytest.raises(UserError, match="is not written"):
        check.require_equal("model.onnx")


def test_nothing_is_left_of_a_file_that_is_refused(run, pictures, tmp_path, monkeypatch):
    """Nothing is found, so nothing can be compared; recording and translating are left out."""
    silent = load_detector(run, device="cpu")
    silent.model.test_score_thresh = 1.0
    monkeypatch.setattr("dyhead.export.exporting._record", lambda graph: graph)
    monkeypatch.setattr("dyhead.export.exporting._write_onnx", lambda *_: _[3].touch())
    monkeypatch.setattr("dyhead.export.exporting._open_onnx", lambda path: find_nothing)
    with pytest.raises(UserError, match="nothing is found on the pictures"):
        export_onnx(silent, tmp_path / "model.onnx", pictures=pictures)
    assert not list(tmp_path.iterdir())


def find_nothing(images):
    count = len(images)
    return np.zeros((count, 1, 4)), np.zeros((count, 1)), -np.ones((count, 1)), [0] * count


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("TEST.AUG.ENABLED", True),
        ("TEST.PRECISION", "bfloat16"),
        ("MODEL.COMPILE.ENABLED", True),
        ("INPUT.FORMAT", "L"),
    ],
)
def test_what_a_graph_cannot_do_is_refused_by_its_key(ready, pictures, tmp_path, key, value):
    cfg = ready.cfg.clone()
    cfg.defrost()
    cfg.merge_from_list([key, value])
    changed = dataclasses.replace(ready, cfg=cfg)
    with pytest.raises(UserError, match=key):
        export_onnx(changed, tmp_path / "model.onnx", pictures=pictures)


def test_an_older_opset_is_refused(ready, pictures, tmp_path):
    with pytest.raises(UserError, match="--opset is 18: DeformConv needs 20"):
        export_onnx(ready, tmp_path / "model.onnx", pictures=pictures, opset=18)


@pytest.mark.slow
def test_a_model_without_suppression(ready, pictures, tmp_path):
    path = tmp_path / "raw.onnx"
    check = export_onnx(ready, path, pictures=pictures, with_nms=False, opset=21)
    assert check.compared > 100
    model = onnx.load(str(path))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 21)]
    assert [output.name for output in model.graph.output] == ["boxes", "scores"]
    assert "NonMaxSuppression" not in {node.op_type for node in model.graph.node}
    with pytest.raises(UserError, match="without non-maximum suppression"):
        OnnxRunner(path)
