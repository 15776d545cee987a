"""The baseline and MMDetection's formulation compute what our block does."""

from typing import Any

import bm_model
import pytest
import torch
from baseline import BaselineBlock, torchvision_operator, use_baseline
from benchmark_runs import SMALL
from mmdet_formulation import MMDetectionBlock
from torch import Tensor, nn

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.config import load_config
from dyhead.d2.modeling import build_model
from dyhead.layers import BlockOptions, DyHeadBlock

SIZES = [(20, 28), (10, 14), (5, 7), (3, 4)]


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
