"""A wrong sign in a Triton kernel is found by the tests of tests/gpu, and named."""

import importlib.util
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

import dyhead

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


class Sabotage(NamedTuple):
    """A change of a file of dyhead/ops/triton, and the tests that then have to fail."""

    file: str
    right: str
    wrong: str
    suite: str
    finding: str


CONVOLUTIONS, MIX = "ops/test_deform_conv.py", "ops/test_branch_mix.py"
SABOTAGES = [
    Sabotage(
        "deform_kernels.py",
        "(by_bottom - by_top) * importance",
        "(by_bottom + by_top) * importance",
        CONVOLUTIONS,
        "gradients of offsets",
    ),
    Sabotage(
        "mix_backward_kernels.py",
        "upper = through - lower",
        "upper = through + lower",
        MIX,
        "gradients of maps",
    ),
    Sabotage("sampling.py", "return dy + tap_y", "return dy - tap_y", CONVOLUTIONS, "outputs"),
    Sabotage(
        "deform_kernels.py",
        "grad * bottom[:, None]",
        "-grad * bottom[:, None]",
        CONVOLUTIONS,
        "gradients of levels",
    ),
    Sabotage(
        "moments_kernels.py",
        "values - mean[None, :], 0.0)",
        "values + mean[None, :], 0.0)",
        CONVOLUTIONS,
        "moments",
    ),
    Sabotage(
        "mix_reading.py",
        "upper + (lower - upper)",
        "upper - (lower - upper)",
        MIX,
        "outputs",
    ),
    Sabotage(
        "mix_kernels.py",
        "shift += total",
        "shift -= total",
        MIX,
        "gradients of dyrelu",
    ),
]


@pytest.mark.parametrize(
    "sabotage",
    [
        SABOTAGES[0],
        SABOTAGES[1],
        *(pytest.param(each, marks=pytest.mark.slow) for each in SABOTAGES[2:]),
    ],
    ids=lambda sabotage: f"{sabotage.file}: {sabotage.wrong}",
)
def test_a_wrong_sign_is_found_where_it_counts(sabotage, interpret, tmp_path):
    copy = tmp_path / "dyhead"
    shutil.copytree(
        Path(dyhead.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    file = copy / "ops" / "triton" / sabotage.file
    source = file.read_text(encoding="utf-8")
    assert source.count(sabotage.right) == 1
    file.write_text(source.replace(sabotage.right, sabotage.wrong), encoding="utf-8")
    result = interpret(
        sabotage.suite, "-k", "float64_double and float16", "--tb=line", package=tmp_path
    )
    assert result.returncode == 1, result.stdout[-5000:] + result.stderr[-2000:]
    assert "AssertionError: " in result.stdout
    assert f"float16 {sabotage.finding}" in result.stdout
