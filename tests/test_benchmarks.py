"""The benchmarks measure what they say: the baseline equals our block; every script runs, small."""

import argparse
import gc
import importlib
import json
import os
from pathlib import Path
from typing import Any

import bm_augmentation
import bm_block
import bm_deform_conv
import bm_loader
import bm_model
import bm_pages
import bm_picture
import compare_checkouts
import goals
import measure
import numpy as np
import pytest
import report
import torch
from baseline import BaselineBlock, torchvision_operator, use_baseline
from browser import CHROMIUM
from mmdet_formulation import MMDetectionBlock
from PIL import Image
from small_runs import save_run
from torch import Tensor, nn
from variants import BASELINE, Variant

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.config import load_config
from dyhead.d2.modeling import build_model
from dyhead.errors import UserError
from dyhead.layers import BlockOptions, DyHeadBlock
from dyhead.ops import choose_backend
from dyhead.ops.cpp import extension

FOLDER = Path(__file__).parents[1] / "benchmarks"
CPU = torch.device("cpu")
SIZES = [(20, 28), (10, 14), (5, 7), (3, 4)]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def make_block(**options: Any) -> DyHeadBlock:
    block = DyHeadBlock(16, 32, BlockOptions(**options)).double()
    for parameter in block.parameters():  # statistics far from their initial ones
        nn.init.normal_(parameter, std=0.3)
    return block


def make_levels() -> list[Tensor]:
    return [torch.randn(2, 16, *size, dtype=torch.float64, requires_grad=True) for size in SIZES]


def run(block: nn.Module, levels: list[Tensor], parameters: list[Tensor]) -> list[Tensor]:
    outputs = block(levels)
    total = torch.stack([(output * output.detach().cos()).sum() for output in outputs]).sum()
    return [*outputs, *torch.autograd.grad(total, [*levels, *parameters])]


@pytest.mark.parametrize("formulation", [BaselineBlock, MMDetectionBlock])
@pytest.mark.parametrize("bias", [True, False])
def test_baseline_equals_our_block(formulation: type[BaselineBlock], bias: bool) -> None:
    """Values and gradients; MMDetection's formulation on an operator that is at hand."""
    block, levels = make_block(bias=bias), make_levels()
    parameters = list(block.parameters())
    baseline = formulation(block, torchvision_operator)
    assert {id(p) for p in baseline.parameters()} == {id(p) for p in parameters}
    torch.testing.assert_close(
        run(baseline, levels, parameters), run(block, levels, parameters), rtol=1e-7, atol=1e-7
    )


def test_baseline_takes_levels_by_name() -> None:
    block, levels = make_block(), dict(zip("abcd", make_levels(), strict=True))
    torch.testing.assert_close(BaselineBlock(block)(levels), block(levels))


@pytest.mark.parametrize(
    "options",
    [
        {"order": "scale_spatial_task"},
        {"coarser_offsets": "crop"},
        {"hard_sigmoid": "paper"},
        {"scale_aware": False},
        {"spatial_aware": False},
        {"task_aware": False},
    ],
)
def test_baseline_is_the_official_block_only(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="official"):
        BaselineBlock(make_block(**options))


def test_variants_leave_no_trace() -> None:
    """ "pytorch" stands for a machine without a compiler; precision and back end end with it."""
    before = extension.load(), torch.get_float32_matmul_precision(), dict(os.environ)
    with Variant("fused", "pytorch", "bfloat16").active(CPU):
        assert not extension.load()
        assert choose_backend(CPU) == "pytorch"
        assert torch.is_autocast_enabled("cpu")
    with Variant("fused", "torchvision", "bf16x3").active(CPU):
        assert choose_backend(CPU) == "torchvision"
        assert torch.get_float32_matmul_precision() == "high"
    assert (extension.load(), torch.get_float32_matmul_precision(), dict(os.environ)) == before


SMALL = [
    *("MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "MODEL.ATSS.INFERENCE_TH", "0.0"),
    *("MODEL.FPN.OUT_CHANNELS", "16", "MODEL.FPN.NORM", "", "MODEL.DYHEAD.CHANNELS", "16"),
    *("SOLVER.IMS_PER_BATCH", "2"),
]


def test_a_whole_detector_on_the_baseline() -> None:
    cfg, _ = load_config(str(bm_model.SMALL_R18), [*bm_model.OFFICIAL_OFFSETS, *SMALL])
    model = build_model(cfg).eval()
    theirs = use_baseline(model)
    assert not any(isinstance(module, DyHeadBlock) for module in theirs.modules())
    assert sum(isinstance(module, DyHeadBlock) for module in model.modules()) == 2
    workload = bm_model.Workload(bm_model.SMALL_R18, "training", (128, 128), 2)
    batch = bm_model.make_batch(cfg, workload)
    losses, expected = model.train()(batch), theirs.train()(batch)
    torch.testing.assert_close(dict(losses), dict(expected), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        found, wanted = (m.eval()(batch)[0]["instances"] for m in (model, theirs))
    assert len(found) == len(wanted) > 10
    torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-4, atol=1e-5)


def test_timing_summarises_rounds() -> None:
    timing = measure.Timing.of([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (timing.low, timing.median, timing.high) == (2, 3, 4)
    assert measure.Timing.of([7.0]) == measure.Timing(7, 7, 7)


def test_calls_are_interleaved() -> None:
    called: list[str] = []
    calls = {name: lambda name=name: called.append(name) for name in "ab"}
    timings = measure.time_interleaved(calls, rounds=3, device=CPU, min_seconds=0)
    assert timings.keys() == calls.keys()
    assert "".join(called) == "aabb" + "ab" * 3  # twice each to warm up


def test_peak_memory_sees_temporaries_and_results() -> None:
    def call() -> Tensor:
        temporary = torch.ones(4 * 2**20)  # 16 MiB, gone at the end
        return temporary[: 2**20] + 1  # 4 MiB

    call()
    peak = measure.peak_extra_bytes(call, CPU)
    if peak is None:
        pytest.skip("this system does not tell")
    # Other memory of the process comes and goes by a few pages meanwhile.
    assert 19 * 2**20 <= peak < 24 * 2**20


def test_peaks_are_measured_in_a_new_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "two_sizes.py").write_text("""
import functools, torch
def make_calls(args, mebibytes):
    sizes = {"once": mebibytes, "twice": 2 * mebibytes}
    return {name: functools.partial(torch.ones, size * 2**18) for name, size in sizes.items()}
""")
    monkeypatch.syspath_prepend(tmp_path)
    two_sizes = importlib.import_module("two_sizes")
    args = argparse.Namespace(device=CPU, threads=1)
    peaks = measure.peaks_in_new_process(two_sizes.make_calls, args, 10)
    if peaks["once"] is None or peaks["twice"] is None:
        pytest.skip("this system does not tell")
    # Linux counts resident pages in batches.
    assert 9.5 * 2**20 <= peaks["once"] < 11 * 2**20
    assert 19.5 * 2**20 <= peaks["twice"] < 21 * 2**20


def test_a_model_whose_memory_is_measured_is_in_the_form_of_evaluation() -> None:
    args = bm_model.parse(["--device", "cpu"])
    workload = bm_model.Workload(bm_model.SMALL_R18, "inference", (64, 64), 1)
    (call,) = bm_model.make_calls(args, workload, [Variant("fused", "pytorch")]).values()
    gc.collect()
    model = call.__self__.model  # type: ignore[attr-defined]
    weights = [p for p in model.backbone.parameters() if p.dim() == 4 and p.shape[2] > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


def test_saved_bytes_count_storages_once_and_no_parameters() -> None:
    linear = nn.Linear(8, 16, bias=False)
    x = torch.randn(4, 8)

    def call() -> Tensor:
        y = linear(x)  # keeps x: 128 bytes
        return (y * y).sum() + (y.view(-1) * 2).exp().sum()  # keeps y: 256; exp: 256

    assert measure.saved_bytes(call, linear.parameters()) == 128 + 256 + 256


def test_deform_conv_benchmark(tmp_path: Path) -> None:
    sizes = ["--channels", "16", "--height", "6", "--width", "7", "--stride", "2"]
    rows = run_script(bm_deform_conv, [*sizes, "--rounds", "1"], tmp_path / "deform_conv.json")
    assert rows[0]["variant"] == bm_deform_conv.BASELINE.name
    assert {row["backend"] for row in rows} >= {"torchvision", "pytorch"}
    check_errors(rows)


def test_block_benchmark(tmp_path: Path) -> None:
    sizes = ["--size", "32", "48", "--levels", "3", "5", "--channels", "32", "--blocks", "2"]
    rounds = ["--rounds", "1", "--training-rounds", "1"]
    rows = run_script(bm_block, [*sizes, *rounds], tmp_path / "block.json")
    assert rows[0]["block"] == "baseline" and rows[0]["ratio"] == 1
    assert {row["pass"] for row in rows} == {"forward", "training"}
    found = {(row["block"], row["backend"]) for row in rows}
    assert found >= {("plain", "pytorch"), ("fused", "pytorch")}
    check_errors(rows)


def test_a_block_that_cannot_be_profiled_keeps_its_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no profiler")

    monkeypatch.setattr(bm_block, "add_launches", fail)
    monkeypatch.setattr(bm_block, "block_variants", lambda *_: [BASELINE])
    sizes = ["--size", "32", "48", "--levels", "3", "5", "--channels", "32", "--rounds", "1"]
    output = tmp_path / "block.json"
    with pytest.raises(RuntimeError, match="no profiler"):
        bm_block.main([*sizes, "--passes", "forward", "--output", str(output)])
    assert json.loads(output.read_text())["rows"][0]["milliseconds"] > 0


def check_errors(rows: list[dict[str, Any]]) -> None:
    limits = {"float32": 3e-5, "bf16x3": 3e-4, "bfloat16": 0.3}
    for row in rows:
        error = row["error"] if row["pass"] == "forward" else row["gradient_error"]
        assert error < 10 * limits[row["precision"]], row
        assert row["pass"] == "forward" or row["saved_megabytes"] > 0


def test_growth_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [
        ("area", "32 x 32", {}),
        ("area", "64 x 64", {"size": (64, 64)}),
        ("levels", "P2 to P7", {"levels": (2, 7)}),
        ("blocks", "2", {"blocks": 2}),
    ]
    monkeypatch.setattr(bm_block, "GROWTH", steps)
    arguments = ["--growth", "--size", "32", "32", "--channels", "32", "--rounds", "1"]
    rows = run_script(bm_block, arguments, tmp_path / "growth.json")
    assert {(row["value"], row["outputs"]) for row in rows} == {
        ("32 x 32", 16 + 3 * (4 + 1 + 1 + 1)),
        ("64 x 64", 64 + 3 * (16 + 4 + 1 + 1)),
        ("P2 to P7", 64 + 3 * (16 + 4 + 1 + 1 + 1)),
        ("2", 2 * (16 + 3 * (4 + 1 + 1 + 1))),
    }
    for row in rows:
        cost = 1e6 * row["milliseconds"] / row["outputs"]
        assert row["nanoseconds_per_output"] == pytest.approx(cost)


def test_model_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variants = [BASELINE, Variant("fused", "pytorch"), Variant("fused", "pytorch", "bfloat16")]
    monkeypatch.setattr(bm_model, "model_variants", lambda device: variants)
    config = ["--config", str(bm_model.SMALL_R18), "--size", "64", "64", "--rounds", "1"]
    rows = run_script(bm_model, [*config, "--batch", "2", *SMALL[6:]], tmp_path / "model.json")
    assert {row["pass"] for row in rows} == {"inference", "training"}
    assert all(row["images_per_second"] > 0 for row in rows)


def test_a_workload_that_fails_keeps_the_rows_of_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure_one(workload: bm_model.Workload, _: Any) -> list[dict[str, Any]]:
        if workload.task == "training":
            raise torch.OutOfMemoryError("too large")
        return [row("fused", workload.task, 2.0)]

    monkeypatch.setattr(bm_model, "measure", measure_one)
    output = tmp_path / "model.json"
    with pytest.raises(torch.OutOfMemoryError):
        bm_model.main(["--output", str(output)])
    assert json.loads(output.read_text())["rows"] == [row("fused", "inference", 2.0)]


def test_gradients_that_overflow_in_float16_leave_the_weights_alone() -> None:
    """Variants share them: without numbers in them the others would be faster than they are."""

    class Overflowing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(1, 1)

        def forward(self, batch: Any) -> dict[str, Tensor]:
            return {"loss": 4 * self.linear(torch.full((1, 1), 6e4)).float().sum()}

    cfg, _ = load_config(str(bm_model.SMALL_R18), SMALL)
    variant = Variant("fused", "pytorch", "float16")
    case = bm_model.ModelCase(variant, Overflowing(), cfg, [], None)
    nn.init.zeros_(case.model.get_parameter("linear.weight"))
    case.training()
    assert case.loss().isfinite()


def test_loader_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = [{"image": torch.zeros(3, 8, 8)}] * 4
    loader = [batch] * 100
    monkeypatch.setattr(bm_loader.Trainer, "build_train_loader", lambda cfg: loader)
    arguments = ["--workers", "0", "--batches", "3", "--rounds", "2"]
    rows = run_script(bm_loader, arguments, tmp_path / "loader.json")
    assert [row["workers"] for row in rows] == ["0"]
    assert rows[0]["images_per_second"] == pytest.approx(4000 / rows[0]["milliseconds"])


@pytest.mark.usefixtures("own_catalogs")
def test_augmentation_benchmark(tmp_path: Path) -> None:
    arguments = ["--sizes", "48", "64", "--images", "2", "--rounds", "1"]
    rows = run_script(bm_augmentation, arguments, tmp_path / "augmentation.json")
    assert [row["task"] for row in rows] == list(bm_augmentation.PARTS)
    assert all(row["config"] == "48 x 64" and row["milliseconds"] > 0 for row in rows)


@pytest.mark.usefixtures("own_catalogs")
def test_pages_benchmark(tmp_path: Path) -> None:
    arguments = ["--pictures", "3", "--detections", "5", "--rounds", "1"]
    rows = run_script(bm_pages, arguments, tmp_path / "pages.json")
    assert len(rows) == 2 + len(bm_pages.QUERIES)
    assert all(row["config"].startswith("3 pictures") for row in rows)
    assert all(row["milliseconds"] > 0 for row in rows)


@pytest.mark.parametrize("num_blocks", [0, 2])
def test_picture_benchmark(tmp_path: Path, num_blocks: int) -> None:
    run = save_run(tmp_path / "run", **{"MODEL.DYHEAD.NUM_CONVS": num_blocks})
    picture = tmp_path / "picture.png"
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(picture)
    arguments = ["--rounds", "3", str(run), str(picture)]
    rows = run_script(bm_picture, arguments, tmp_path / "picture.json")
    *parts, whole = rows
    assert ("DyHead blocks" in [row["task"] for row in parts]) == (num_blocks > 0)
    assert len(parts) == 9 - (not num_blocks)
    assert all(0 < row["milliseconds"] < whole["milliseconds"] for row in parts)
    assert sum(row["percent"] for row in parts) == pytest.approx(100, abs=1)


def test_picture_benchmark_sets_keys_of_the_config(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run")
    picture = tmp_path / "picture.png"
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(picture)
    arguments = [str(run), str(picture), "--rounds", "1", "--set", "TEST.PRECISION"]
    run_script(bm_picture, [*arguments, "bfloat16"], tmp_path / "picture.json")
    settings = json.loads((tmp_path / "picture.json").read_text())["settings"]
    assert settings["overrides"] == "TEST.PRECISION bfloat16"
    with pytest.raises(UserError, match=r"TEST\.PRECISION"):
        bm_picture.main([*arguments, "float8"])


def test_a_stopwatch_counts_no_time_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bm_picture.time, "perf_counter", iter([0, 1, 3, 4, 9, 10]).__next__)
    watch = bm_picture.Stopwatch()
    watch.call("outer", lambda: [watch.call("inner", int) for _ in range(2)])
    assert watch.take() == {"inner": 2 + 5, "outer": 10 - 2 - 5}
    assert not watch.take()


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium or Chrome")
@pytest.mark.usefixtures("own_catalogs")
def test_pages_benchmark_in_a_browser(tmp_path: Path) -> None:
    arguments = ["--pictures", "70", "--detections", "5", "--rounds", "1", "--steps", "2"]
    rows = run_script(bm_pages, arguments, tmp_path / "pages.json")
    of_browser = [row for row in rows if row["task"].startswith("browser: ")]
    assert len(of_browser) == 5
    for each in of_browser:
        assert 0 < each["quartiles"][0] <= each["milliseconds"] <= each["slowest"]


def run_script(script: Any, arguments: list[str], output: Path) -> list[dict[str, Any]]:
    threads = torch.get_num_threads()
    precision = torch.get_float32_matmul_precision()
    script.main(["--threads", str(threads), "--output", str(output), *arguments])
    assert torch.get_float32_matmul_precision() == precision
    result = json.loads(output.read_text())
    assert {"processor", "torch", "torchvision", "threads", "date"} <= result["machine"].keys()
    return result["rows"]


def row(block: str, what: str, ratio: float, precision: str = "float32", **more: Any) -> Any:
    fields = {"block": block, "backend": "cpp", "precision": precision, "compiled": False}
    return {**fields, "pass": what, "ratio": ratio, "variant": block, **more}


def test_goals_are_read_from_the_results(tmp_path: Path) -> None:
    folder = tmp_path / "cpu"
    folder.mkdir()
    block = [
        row("fused", "forward", 7.0, milliseconds=1.0, error=1e-6, peak_megabytes=70.0),
        row("fused", "training", 16.0, milliseconds=1.0, saved_megabytes=60.0),
    ]
    growth = [
        row("fused", "forward", 1, grows=grows, value=value, nanoseconds_per_output=cost)
        for grows, value, cost in [
            ("area", "256 x 256", 900),
            ("area", "512 x 512", 100),
            ("area", "768 x 768", 105),
            ("levels", "P3 to P7", 200),
            ("levels", "P2 to P7", 216),
        ]
    ]
    for name, rows in (("block", block), ("growth", growth)):
        content = {"rows": rows, "machine": {"processor": "a 6502"}, "settings": {"batch": 1}}
        (folder / f"{name}.json").write_text(json.dumps(content))
    report.main(["--results", str(tmp_path)])
    page = (tmp_path / "README.md").read_text()
    lines = {
        cells[1]: cells[3:5]
        for cells in ([c.strip() for c in line.split("|")] for line in page.splitlines())
        if len(cells) == 6
    }
    assert lines["C++ fp32: forward"] == ["7.0", "yes"]
    assert lines["C++ fp32: forward + backward"] == ["16.0", "no"]
    assert lines["C++ fp32: error"] == ["1.0e-06", "yes"]
    assert lines["forward extra memory of a block, C++ fp32, MB"] == ["70", "no"]
    assert lines["saved per block and image, fp32, MB"] == ["60", "yes"]
    assert lines["cost per output over area, over levels, C++ fp32: spread"] == ["8%", "yes"]
    assert lines["cost per output over area, over levels, C++ bf16: spread"] == ["", ""]
    assert lines["GPU, block, bf16: forward"] == ["", ""]  # not guessed
    assert len(lines) >= len(goals.GOALS)
    assert "a 6502" in page


def test_gpu_goals_compare_with_the_baseline_under_autocast() -> None:
    rows = [
        row("baseline", "forward", 1.0, "float32", milliseconds=20.0),
        row("baseline", "forward", 1.0, "bfloat16", milliseconds=30.0),
        row("fused", "forward", 10.0, "bfloat16", milliseconds=3.0),
    ]
    results = {"cuda": {"block": rows}}
    found = {goal.text: goal.measured(results) for goal in goals.GOALS}
    assert found["GPU, block, bf16: forward"] == 10
    assert found["GPU, block, bf16: forward + backward"] is None


def test_checkouts_are_compared_in_turns(capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--channels", "16", "--height", "8", "--width", "8", "--device", "cpu"]
    before, after = (
        compare_checkouts.Worker(FOLDER.parent, "bm_deform_conv", size) for _ in range(2)
    )
    compare_checkouts.compare(before, after, rounds=2, only="training")
    before.close()
    after.close()
    _, *lines = capsys.readouterr().out.splitlines()
    assert "training | operator, torchvision, float32" in lines[0]
    assert 2 * len(lines) == len(before.calls) and all(" to " in line for line in lines)


def test_a_checkout_without_the_benchmark_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"benchmark of {tmp_path} ended"):
        compare_checkouts.Worker(tmp_path, "bm_deform_conv", [])


def test_a_benchmark_gets_the_arguments_behind_the_dashes() -> None:
    line = ["one", "two", "--benchmark", "bm_block", "--rounds", "3", "--", "--size", "64", "64"]
    args = compare_checkouts.parse(line)
    assert (args.before, args.after, args.rounds) == (Path("one"), Path("two"), 3)
    assert args.arguments == ["--size", "64", "64"]
