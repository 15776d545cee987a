"""Parameter groups and gradient clipping by config."""

import copy

import pytest
import torch
from torch import nn

from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.engine.optimizer import build_optimizer, match_layouts
from dyhead.errors import UserError


def config(**solver: object) -> CfgNode:
    opts = [part for key, value in solver.items() for part in (f"SOLVER.{key}", str(value))]
    return load_config("", opts)[0]


def clipping(clip_type: str, value: float) -> CfgNode:
    """A config by which a layer's weight and bias are in groups of their own."""
    cfg = config(BASE_LR=1.0, MOMENTUM=0.0, WEIGHT_DECAY=0.0, WEIGHT_DECAY_BIAS=0.0)
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = clip_type
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = value
    return cfg


def group_of(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> dict:
    return next(g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))


@pytest.mark.parametrize(("name", "kind"), [("SGD", torch.optim.SGD), ("ADAMW", torch.optim.AdamW)])
def test_groups_get_their_own_learning_rate_and_decay(name: str, kind: type) -> None:
    cfg = config(
        OPTIMIZER=name,
        BASE_LR=0.1,
        WEIGHT_DECAY=0.5,
        WEIGHT_DECAY_NORM=0.25,
        WEIGHT_DECAY_BIAS=0.125,
        BIAS_LR_FACTOR=2.0,
    )
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.GroupNorm(2, 4))
    optimizer = build_optimizer(cfg, model)
    assert isinstance(optimizer, kind)
    weight, bias = (group_of(optimizer, p) for p in (model[0].weight, model[0].bias))
    norm = group_of(optimizer, model[1].weight)
    assert (weight["lr"], weight["weight_decay"]) == (0.1, 0.5)
    assert (bias["lr"], bias["weight_decay"]) == (0.2, 0.125)
    assert (norm["lr"], norm["weight_decay"]) == (0.1, 0.25)


@pytest.mark.parametrize(
    ("name", "decays"),
    [
        ("dyhead_r50_atss_fpn_1x", (0.0001, 0.0001, 0.0001)),
        ("dyhead_swint_atss_fpn_2x_ms", (0.05, 0.05, 0.0001)),
        ("dyhead_swinl_atss_fpn_2x_ms_mmdet", (0.05, 0.0, 0.05)),
        ("own_dataset", (0.05, 0.0, 0.05)),
    ],
)
def test_weights_norms_and_biases_decay_as_in_the_code_that_a_config_follows(
    name: str, decays: tuple[float, float, float]
) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.GroupNorm(2, 4))
    optimizer = build_optimizer(load_config(name)[0], model)
    parameters = model[0].weight, model[1].weight, model[0].bias
    assert tuple(group_of(optimizer, p)["weight_decay"] for p in parameters) == decays


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    optimizer = build_optimizer(config(), model)
    assert [p for g in optimizer.param_groups for p in g["params"]] == [model.weight]


def changes_after_step(cfg: CfgNode) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what one step with lr 1 subtracts from a weight and a bias.

    Their gradients are [3, 0] and [4].
    """
    model = nn.Linear(2, 1)
    for parameter, gradient in ((model.weight, [[3.0, 0.0]]), (model.bias, [4.0])):
        nn.init.zeros_(parameter)
        parameter.grad = torch.tensor(gradient)
    build_optimizer(cfg, model).step()
    return -model.weight[0].detach(), -model.bias.detach()


def test_clipping_types() -> None:
    assert len(build_optimizer(clipping("full_model", 1.0), nn.Linear(2, 1)).param_groups) == 2
    first, second = changes_after_step(clipping("value", 1.0))
    assert first.tolist() == [1.0, 0.0] and second.tolist() == [1.0]
    first, second = changes_after_step(clipping("norm", 3.0))
    assert first[0].item() == pytest.approx(3.0) and second.item() == pytest.approx(3.0)
    first, second = changes_after_step(clipping("full_model", 1.0))  # the full norm is 5
    assert first[0].item() == pytest.approx(0.6) and second.item() == pytest.approx(0.8)
    first, second = changes_after_step(clipping("full_model", 10.0))
    assert (first[0].item(), second.item()) == (3.0, 4.0)
    by_largest = clipping("full_model", 1.0)
    by_largest.SOLVER.CLIP_GRADIENTS.NORM_TYPE = float("inf")
    first, second = changes_after_step(by_largest)
    assert (first[0].item(), second.item()) == pytest.approx((0.75, 1.0))


def test_clipping_is_off_by_default() -> None:
    first, _ = changes_after_step(config(BASE_LR=1.0, MOMENTUM=0.0, WEIGHT_DECAY=0.0))
    assert first[0].item() == 3.0


@pytest.mark.parametrize("cfg", [config(OPTIMIZER="ADAM"), clipping("max", 1.0)])
def test_unknown_choices_are_named(cfg: CfgNode) -> None:
    with pytest.raises(UserError, match="OPTIMIZER|CLIP_TYPE"):
        build_optimizer(cfg, nn.Linear(1, 1))


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 3))


def give_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def plain_step(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Return the same optimizer without fused kernels."""
    groups = [{**group, "fused": False} for group in build_optimizer(cfg, model).param_groups]
    kind = {"SGD": torch.optim.SGD, "ADAMW": torch.optim.AdamW}[cfg.SOLVER.OPTIMIZER]
    return kind(groups, lr=cfg.SOLVER.BASE_LR)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ["SGD", "ADAMW"])
def test_steps_are_those_of_the_plain_optimizer(name: str, layout: torch.memory_format) -> None:
    cfg = config(OPTIMIZER=name, BASE_LR=0.01, WEIGHT_DECAY=0.1, WEIGHT_DECAY_NORM=0.0)
    ours, plain = small_model().to(memory_format=layout), small_model()
    optimizer, reference = build_optimizer(cfg, ours), plain_step(cfg, plain)
    assert all(group["fused"] for group in optimizer.param_groups)
    for step in range(5):
        give_gradients(ours, step)  # contiguous, whatever the layout of the parameters
        give_gradients(plain, step)
        optimizer.step()
        reference.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b.contiguous(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "ADAMW"])
def test_a_state_saved_in_another_layout_goes_on_where_it_was(name: str) -> None:
    cfg = config(OPTIMIZER=name, BASE_LR=0.01)
    stayed, moved = small_model(), small_model()
    before = build_optimizer(cfg, stayed)
    for step in range(3):
        give_gradients(stayed, step)
        before.step()
    moved.load_state_dict(stayed.state_dict())
    moved.to(memory_format=torch.channels_last)
    after = build_optimizer(cfg, moved)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    for model, optimizer in ((stayed, before), (moved, after)):
        give_gradients(model, 9)
        optimizer.step()
    for a, b in zip(stayed.parameters(), moved.parameters(), strict=True):
        torch.testing.assert_close(a, b.contiguous(), rtol=1e-5, atol=1e-6)


def test_what_lies_right_is_not_copied() -> None:
    model = small_model().to(memory_format=torch.channels_last)
    optimizer = build_optimizer(config(OPTIMIZER="ADAMW"), model)
    model(torch.rand(1, 3, 9, 9)).sum().backward()
    optimizer.step()
    kept = {p: (p.grad, optimizer.state[p]["exp_avg"]) for p in model.parameters()}
    match_layouts(optimizer)
    for parameter, (gradient, average) in kept.items():
        assert parameter.grad is gradient and gradient.stride() == parameter.stride()
        assert optimizer.state[parameter]["exp_avg"] is average
        assert average.stride() == parameter.stride()


def test_clipping_looks_at_gradients_without_the_loss_scale() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = build_optimizer(clipping("full_model", 1.0), nn.ParameterList([parameter]))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale((parameter * torch.tensor([3.0, 4.0])).sum()).backward()
    scaler.step(optimizer)
    assert (-parameter.detach()).tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("name", ["SGD", "ADAMW"])
@pytest.mark.parametrize("written_by", [True, None])
def test_the_device_decides_on_fused_kernels_and_not_the_checkpoint(
    name: str, written_by: bool | None
) -> None:
    optimizer = build_optimizer(config(OPTIMIZER=name), small_model())
    state = copy.deepcopy(optimizer.state_dict())
    for group in state["param_groups"]:
        group["fused"] = written_by
    optimizer.load_state_dict(state)
    assert all(group["fused"] is True for group in optimizer.param_groups)


def test_a_momentum_may_begin_late() -> None:
    cfg = config(OPTIMIZER="SGD", BASE_LR=0.01, MOMENTUM=0.9)
    ours, plain = small_model(), small_model()
    optimizer, reference = build_optimizer(cfg, ours), plain_step(cfg, plain)
    for step in range(4):
        for model, its_optimizer in ((ours, optimizer), (plain, reference)):
            give_gradients(model, step)
            if step < 2:
                model[2].weight.grad = None
            its_optimizer.step()
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
