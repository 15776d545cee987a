"""Exported files compute what their detectors do, for other pictures too, or are not written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import IDS, NAMES, save_run

from dyhead import Detector
from dyhead.cli import export as command
from dyhead.cli.main import build_parser
from dyhead.detector import ReadyDetector, load_detector
from dyhead.errors import UserError
from dyhead.export import Check, OnnxRunner, export_onnx, export_torch
from dyhead.export.pictures import pictures_to_compare


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> ReadyDetector:
    run = save_run(tmp_path_factory.mktemp("run"), **{"MODEL.FPN.OUT_CHANNELS": 32})
    return load_detector(run, overrides=["TEST.DETECTIONS_PER_IMAGE", "20"], device="cpu")


@pytest.fixture(scope="module")
def onnx_file(ready: ReadyDetector, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Check]:
    """An ONNX file, and what its comparison gave."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    return path, export_onnx(ready, path, pictures=pictures_to_compare(ready.cfg))


def random_pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = [(96, 130), (70, 96), (96, 130), (200, 150)]
    return [rng.integers(0, 255, (*shape, 3), dtype=np.uint8) for shape in shapes]


def test_onnx_equals_the_detector_on_pictures_of_any_size(
    ready: ReadyDetector, onnx_file: tuple[Path, Check]
) -> None:
    path, check = onnx_file
    assert check.compared > 20
    assert check.pixels < 1e-2 and check.score < 1e-4
    assert {count for count, *_ in check.batches} == {1, 2}
    ours = Detector(ready.source, device="cpu", overrides=["TEST.DETECTIONS_PER_IMAGE", "20"])
    theirs = Detector(path, device="cpu")
    assert theirs.class_names == NAMES
    pictures = random_pictures()
    for mine, exported in zip(
        ours(pictures, threshold=0.0), theirs(pictures, threshold=0.0), strict=True
    ):
        assert len(mine) == len(exported) > 5
        np.testing.assert_allclose(exported.scores, mine.scores, atol=1e-4)
        np.testing.assert_allclose(exported.boxes, mine.boxes, atol=1e-2)
        assert exported.class_ids.tolist() == mine.class_ids.tolist()


def test_onnx_says_what_it_is_and_holds_standard_operators_alone(
    onnx_file: tuple[Path, Check],
) -> None:
    import onnx

    path, _ = onnx_file
    runner = OnnxRunner(path, device="cpu")
    assert (runner.class_names, runner.category_ids) == (NAMES, IDS)
    assert (runner.input_format, runner.min_size, runner.max_size) == ("BGR", 96, 160)
    model = onnx.load(str(path))
    assert {node.domain for node in model.graph.node} == {""}
    kinds = {node.op_type for node in model.graph.node}
    assert {"DeformConv", "NonMaxSuppression"} <= kinds
    assert [entry.version for entry in model.opset_import] == [20]


@pytest.mark.slow
def test_torch_export_equals_the_detector(ready: ReadyDetector, tmp_path: Path) -> None:
    path = tmp_path / "small.pt2"
    check = export_torch(ready, path, pictures=pictures_to_compare(ready.cfg), with_nms=False)
    assert check.compared > 20
    assert check.pixels < 1e-2 and check.score < 1e-4
    program = torch.export.load(path).module()
    boxes, scores = program(torch.zeros(3, 3, 50, 70, dtype=torch.uint8))
    assert (boxes.shape[0], boxes.shape[2], scores.shape[0], scores.shape[2]) == (3, 4, 3, 3)


@pytest.mark.parametrize(
    "check, sentence",
    [
        (Check(pixels=0.011, compared=9), "it would not compute what the detector does"),
        (Check(score=2e-4, compared=9), "it would not compute what the detector does"),
        (Check(compared=9, unpartnered=3), "it would not compute what the detector does"),
        (Check(), "nothing is found on the pictures"),
    ],
)
def test_what_differs_or_was_not_compared_is_refused(check: Check, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check.require_equal("model.onnx")
    Check(pixels=0.009, score=9e-5, compared=9, unpartnered=2).require_equal("model.onnx")


@pytest.mark.slow
def test_a_file_that_differs_is_not_left(
    ready: ReadyDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "wrong.pt2"
    genuine = torch.export.load

    def load_wrong(file: Any) -> Any:
        program = genuine(file)
        for parameter in program.state_dict.values():
            if parameter.is_floating_point():
                parameter.data.mul_(1.01)
        return program

    monkeypatch.setattr(torch.export, "load", load_wrong)
    with pytest.raises(UserError, match=r"wrong\.pt2 is not written, since it would not compute"):
        export_torch(ready, path, pictures=pictures_to_compare(ready.cfg))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["run", "model.pb"], "has the ending '.pb': choose .onnx or .pt2"),
        (["run", "model.pt2", "--opset", "20"], "--opset is for .onnx files"),
        (["run", "model.pt2", "--size", "0", "5"], "--size 0 5 has no pixels"),
    ],
)
def test_wrong_arguments_are_answered_before_any_work(words: list[str], sentence: str) -> None:
    parser = build_parser_of_export()
    with pytest.raises(UserError, match=sentence):
        command.run(parser.parse_args(words))


def build_parser_of_export() -> Any:
    from dyhead.cli.main import COMMANDS

    (row,) = [each for each in COMMANDS if each.name == "export"]
    return build_parser(row, command)
