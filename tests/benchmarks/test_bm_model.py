"""The whole detector's benchmark runs, small, and measures it as it would be used."""

import gc
import json
from pathlib import Path
from typing import Any

import bm_model
import pytest
import torch
from benchmark_runs import SMALL, row, run_benchmark
from torch import Tensor, nn
from variants import BASELINE, Variant

from dyhead.config import load_config


def test_model_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variants = [BASELINE, Variant("fused", "pytorch"), Variant("fused", "pytorch", "bfloat16")]
    monkeypatch.setattr(bm_model, "model_variants", lambda device: variants)
    config = ["--config", str(bm_model.SMALL_R18), "--size", "64", "64", "--rounds", "1"]
    rows = run_benchmark(bm_model, [*config, "--batch", "2", *SMALL[6:]], tmp_path / "model.json")
    assert {row["pass"] for row in rows} == {"inference", "training"}
    assert all(row["images_per_second"] > 0 for row in rows)


def test_a_model_whose_memory_is_measured_is_in_the_form_of_evaluation() -> None:
    args = bm_model.parse(["--device", "cpu"])
    workload = bm_model.Workload(bm_model.SMALL_R18, "inference", (64, 64), 1)
    (call,) = bm_model.make_calls(args, workload, [Variant("fused", "pytorch")]).values()
    gc.collect()
    model = call.__self__.model  # type: ignore[attr-defined]
    weights = [p for p in model.backbone.parameters() if p.dim() == 4 and p.shape[2] > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


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
    before = {name: value.clone() for name, value in case.model.state_dict().items()}
    case.training()
    torch.testing.assert_close(dict(case.model.state_dict()), before, rtol=0, atol=0)
