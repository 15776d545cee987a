"""Runs of the scripts of benchmarks/ and rows of their results."""

import json
from pathlib import Path
from typing import Any

import torch

SMALL = [
    *("MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "MODEL.ATSS.INFERENCE_TH", "0.0"),
    *("MODEL.FPN.OUT_CHANNELS", "16", "MODEL.FPN.NORM", "", "MODEL.DYHEAD.CHANNELS", "16"),
    *("SOLVER.IMS_PER_BATCH", "2"),
]


def run_benchmark(script: Any, arguments: list[str], output: Path) -> list[dict[str, Any]]:
    """Run the module of a benchmark with a command line; return the rows that it has written."""
    threads = torch.get_num_threads()
    precision = torch.get_float32_matmul_precision()
    script.main(["--threads", str(threads), "--output", str(output), *arguments])
    assert torch.get_float32_matmul_precision() == precision
    result = json.loads(output.read_text())
    assert {"processor", "torch", "torchvision", "threads", "date"} <= result["machine"].keys()
    return result["rows"]


def check_errors(rows: list[dict[str, Any]]) -> None:
    """Assert that variants of the block or operator agree with the baseline as their type can."""
    limits = {"float32": 3e-5, "bf16x3": 3e-4, "bfloat16": 0.3}
    for each in rows:
        error = each["error"] if each["pass"] == "forward" else each["gradient_error"]
        assert error < 10 * limits[each["precision"]], each
        assert each["pass"] == "forward" or each["saved_megabytes"] > 0


def row(block: str, what: str, ratio: float, precision: str = "float32", **more: Any) -> Any:
    """Make a row of the results of a block or detector."""
    fields = {"block": block, "backend": "cpp", "precision": precision, "compiled": False}
    return {**fields, "pass": what, "ratio": ratio, "variant": block, **more}
