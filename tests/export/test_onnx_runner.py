"""Files that are no models of `dyhead export` are refused, each in one sentence."""

import json
import sys

import pytest

from dyhead.checkpoint.model_card import ModelCard
from dyhead.errors import UserError
from dyhead.export import OnnxRunner
from dyhead.export.metadata import read_metadata

CARD = {**ModelCard("VERSION: 2", class_names=("a",)).as_plain(), "outputs": "detections"}


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r'onnxruntime.*pip install "dyhead\[export\]"'):
        OnnxRunner(tmp_path / "model.onnx")


def test_an_onnxruntime_without_the_operator_is_named(tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "__version__", "1.24.1")
    with pytest.raises(UserError, match="onnxruntime 1.24.1 has no.*install 1.25 or later"):
        OnnxRunner(tmp_path / "model.onnx")


def test_a_missing_file():
    pytest.importorskip("onnxruntime")
    with pytest.raises(UserError, match="nowhere.onnx does not exist"):
        OnnxRunner("nowhere.onnx")


def test_no_onnx_model(tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nothing of this kind")
    with pytest.raises(UserError, match="model.onnx cannot be run by onnxruntime"):
        OnnxRunner(path)


def test_a_model_of_somebody_else(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    kind, sizes = onnx.TensorProto.FLOAT, [1]
    tensors = [onnx.helper.make_tensor_value_info(name, kind, sizes) for name in ("x", "y")]
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "graph", tensors[:1], tensors[1:])
    opset = onnx.helper.make_opsetid("", 20)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    with pytest.raises(UserError, match="was not made by `dyhead export`"):
        OnnxRunner(path)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_it_does_not_have(tmp_path, device):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and device == "cuda":
        pytest.skip("it has it")
    with pytest.raises(UserError, match=f"'{device}'"):
        OnnxRunner(tmp_path / "model.onnx", device=device)


class Session:
    """Loads the CPU's part alone, as onnxruntime does where CUDA's libraries are missing."""

    def __init__(self) -> None:
        self.asked: list = []

    def __call__(self, path, options, providers):
        self.asked.append(providers)
        return self

    def get_providers(self):
        return ["CPUExecutionProvider"]


def test_the_number_of_a_gpu_counts_and_the_cpu_does_not_stand_in(tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = Session()
    known = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: known)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    with pytest.raises(UserError, match="'cuda:3' was asked for, and onnxruntime cannot load"):
        OnnxRunner(path, device="cuda:3")
    assert session.asked == [[(known[0], {"device_id": 3}), known[1]]]


def test_metadata_is_read_back():
    exported = read_metadata(json.dumps(CARD))
    assert exported.card.class_names == ("a",)
    assert exported.outputs == "detections"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "no mapping"),
        (json.dumps({**CARD, "outputs": "masks"}), "'outputs'"),
        (json.dumps({**CARD, "class_names": 3}), "'class_names'"),
        (json.dumps({**CARD, "min_size": -1}), "'min_size'"),
    ],
)
def test_damaged_metadata_is_refused_by_what_is_wrong(text, fault):
    with pytest.raises(ValueError, match=fault):
        read_metadata(text)
