"""The recipes of docs/other_models.md run as they stand, and their models train."""

from typing import Any

import pytest
import torch
from documents import PROJECT, block_with
from torch import Tensor, nn

from dyhead.layers import DyHeadBlock

DOCUMENT = PROJECT / "docs" / "other_models.md"


def run_recipe(name: str) -> dict[str, Any]:
    """The names that a recipe leaves."""
    source = block_with(DOCUMENT, "python", f"# recipe: {name}\n")
    names: dict[str, Any] = {"__name__": f"recipe_{name}"}
    exec(compile(source, str(DOCUMENT), "exec"), names)
    return names


def count_blocks(model: nn.Module) -> int:
    return sum(isinstance(module, DyHeadBlock) for module in model.modules())


def blocks_without_gradient(model: nn.Module) -> list[str]:
    """Parameters within blocks that a backward pass left without a gradient."""
    blocks = [module for module in model.modules() if isinstance(module, DyHeadBlock)]
    named = [pair for block in blocks for pair in block.named_parameters()]
    return [name for name, parameter in named if parameter.grad is None]


@pytest.mark.parametrize("name", ["retinanet", "fcos"])
def test_torchvisions_detectors_train_and_detect(name: str) -> None:
    detector = run_recipe("torchvision")[name]
    assert count_blocks(detector) == 2
    detector.transform.min_size, detector.transform.max_size = (64,), 128
    boxes = torch.tensor([[10.0, 8.0, 60.0, 50.0]])
    targets = [{"boxes": boxes, "labels": torch.tensor([2])}]
    losses: dict[str, Tensor] = detector.train()([torch.rand(3, 64, 100)], targets)
    torch.stack(list(losses.values())).sum().backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert not blocks_without_gradient(detector)
    with torch.no_grad():
        (found,) = detector.eval()([torch.rand(3, 64, 100)])
    assert {"boxes", "scores", "labels"} <= set(found)


def test_timms_features_go_through_blocks() -> None:
    names = run_recipe("timm")
    shapes = [tuple(level.shape) for level in names["levels"]]
    assert shapes == [(1, 128, 8, 12), (1, 128, 4, 6), (1, 128, 2, 3)]
    torch.stack([level.square().mean() for level in names["levels"]]).sum().backward()
    assert not blocks_without_gradient(names["model"])


def test_ultralytics_yolo_detects_behind_blocks() -> None:
    pytest.importorskip("ultralytics")
    names = run_recipe("ultralytics")
    assert count_blocks(names["yolo"].model) == 1
    predictions = names["predictions"]
    tensor = predictions[0] if isinstance(predictions, tuple) else predictions
    assert tensor.isfinite().all()
