"""The gradient of a step computed in parts is that of the whole batch."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from small_configs import PROJECT, damp, shrink
from torch import nn

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import build_model
from dyhead.d2.structures import Boxes, Instances
from dyhead.d2.utils.events import EventStorage
from dyhead.engine.accumulation import accumulate_gradients
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError

DENSE = ["atss", "fcos", "reppoints", "retinanet"]
TYPES = torch.float64, torch.float32
# The host's regions are always float32.
CASES = [*((name, dtype) for name in DENSE for dtype in TYPES), ("rcnn", torch.float32)]
NUM_PARTS = 2  # of three images: one and two


@pytest.fixture(autouse=True)
def storage() -> Iterator[None]:
    with EventStorage():
        yield


def small_config(name: str, parts: int = NUM_PARTS) -> CfgNode:
    opts = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "SOLVER.ACCUMULATION_STEPS", str(parts)]
    opts += ["MODEL.BACKBONE.FREEZE_AT", "-1"]
    # The host's towers: on the one cell of P7 a group of one channel has nothing to normalise by.
    opts += ["MODEL.RETINANET.NORM", ""]
    cfg, _ = load_config(str(PROJECT / "experiments" / "configs" / f"{name}.yaml"), opts)
    shrink(cfg)
    return cfg


def build(cfg: CfgNode, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    model = build_model(cfg).to(dtype)
    damp(model)
    return model.train()


def batch() -> list[dict[str, Any]]:
    """Three pictures of several sizes with very different numbers of objects."""
    generator = torch.Generator().manual_seed(1)
    sizes, counts = [(64, 96), (64, 64), (80, 64)], [9, 0, 2]
    return [picture(generator, *size, count) for size, count in zip(sizes, counts, strict=True)]


def picture(generator: torch.Generator, height: int, width: int, count: int) -> dict[str, Any]:
    corners = torch.rand(count, 2, generator=generator) * 30
    sides = 8 + torch.rand(count, 2, generator=generator) * 24
    truth = Instances((height, width))
    truth.gt_boxes = Boxes(torch.cat([corners, corners + sides], dim=1))
    truth.gt_classes = torch.randint(0, 3, (count,), generator=generator)
    image = torch.randint(0, 256, (3, height, width), generator=generator).to(torch.uint8)
    return {"image": image, "instances": truth, "height": height, "width": width}


def losses_and_gradients(model: nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    torch.manual_seed(7)  # of what is sampled among regions
    losses = model(batch())
    model.zero_grad()
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: loss.detach() for name, loss in losses.items()}, gradients


@pytest.mark.parametrize(
    ("name", "dtype"),
    [case if case[0] == "atss" else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
    ids=str,
)
def test_losses_and_gradients_are_those_of_the_whole_batch(name: str, dtype: torch.dtype) -> None:
    cfg = small_config(name)
    whole, parts = build(cfg, dtype), build(cfg, dtype)
    accumulate_gradients(cfg, parts)
    expected_losses, expected = losses_and_gradients(whole)
    losses, gradients = losses_and_gradients(parts)
    limit = 1e-9 if dtype == torch.float64 else 1e-4
    scale = torch.stack([gradient.norm() for gradient in expected.values()]).max()
    for loss_name, loss in expected_losses.items():
        torch.testing.assert_close(losses[loss_name], loss, rtol=limit, atol=limit)
    assert gradients.keys() == expected.keys()
    for parameter, gradient in expected.items():
        distance = (gradients[parameter] - gradient).norm()
        assert distance <= limit * max(gradient.norm(), 1e-2 * scale), parameter


def test_weights_after_some_steps_are_those_of_whole_batches() -> None:
    cfg = small_config("atss")
    models = [build(cfg, torch.float64), build(cfg, torch.float64)]
    accumulate_gradients(cfg, models[1])
    for model in models:
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
        for _ in range(3):
            losses_and_gradients(model)
            optimizer.step()
    expected = models[0].state_dict()
    for parameter, value in models[1].state_dict().items():
        torch.testing.assert_close(value, expected[parameter], rtol=1e-9, atol=1e-9)


def test_training_alone_is_computed_in_parts() -> None:
    cfg = small_config("atss")
    model = build(cfg, torch.float32)
    accumulate_gradients(cfg, model)
    first = next(m for m in model.backbone.modules() if isinstance(m, nn.Conv2d))
    sizes: list[int] = []
    first.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    images = torch.rand(3, 3, 64, 64)
    model.backbone(images)
    model.eval().backbone(images)
    assert sizes == [1, 2, 3]


def bytes_kept(model: nn.Module) -> int:
    """Count what a forward pass keeps for the backward pass."""
    kept = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        model(batch())
    return kept


def test_parts_keep_little_for_the_backward_pass() -> None:
    cfg = small_config("atss")
    whole, parts = build(cfg, torch.float32), build(cfg, torch.float32)
    accumulate_gradients(cfg, parts)
    assert bytes_kept(parts) < 0.2 * bytes_kept(whole)


def test_a_copy_computes_with_weights_of_its_own() -> None:
    cfg = small_config("atss")
    model = build(cfg, torch.float32)
    accumulate_gradients(cfg, model)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.mul_(1.5)
    first, second = (losses_and_gradients(each)[0]["loss_cls"] for each in (model, copied))
    assert first != second


def test_evaluation_and_names_of_weights_stay() -> None:
    cfg = small_config("atss")
    whole, parts = build(cfg, torch.float32), build(cfg, torch.float32)
    accumulate_gradients(cfg, parts)
    assert whole.state_dict().keys() == parts.state_dict().keys()
    with torch.no_grad():
        found = [
            model.eval()(batch())[0]["instances"].pred_boxes.tensor for model in (whole, parts)
        ]
    assert torch.equal(*found)


def spoil(cfg: CfgNode, **changes: Any) -> CfgNode:
    cfg.merge_from_list([part for item in changes.items() for part in item])
    return cfg


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MODEL.FPN.NORM": "BN"}, "batch norms .*use GN or FrozenBN"),
        ({"MODEL.COMPILE.ENABLED": True}, "do not go together"),
        ({"SOLVER.ACCUMULATION_STEPS": 0}, "make it 1 or more"),
    ],
)
def test_what_would_compute_something_else_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    cfg = spoil(small_config("atss"), **changes)
    with pytest.raises(UserError, match=message):
        accumulate_gradients(cfg, build(cfg, torch.float32))


def test_a_detector_without_parts_is_refused(make_config: Callable[..., CfgNode]) -> None:
    with pytest.raises(UserError, match="ToyDetector has neither"):
        Trainer(make_config(**{"SOLVER.ACCUMULATION_STEPS": 2}))
