"""Learning rates over the iterations, on either host, against closed formulas."""

import math

import pytest
import torch
from embedded_host.solver import build_lr_scheduler as embedded_build_lr_scheduler
from fvcore.common.param_scheduler import CosineParamScheduler, MultiStepParamScheduler
from torch import nn

from dyhead.d2.config import get_cfg
from dyhead.d2.solver import LRMultiplier, WarmupParamScheduler, build_lr_scheduler


def make_optimizer(*learning_rates: float) -> torch.optim.Optimizer:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in learning_rates]
    return torch.optim.SGD(groups, lr=learning_rates[0])


def rates(optimizer, scheduler, num_iterations: int) -> list[float]:
    """The first group's rate used in each iteration."""
    used = []
    for _ in range(num_iterations):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return used


def solver_config(name: str, **keys):
    cfg = get_cfg()
    cfg.SOLVER.LR_SCHEDULER_NAME = name
    cfg.SOLVER.MAX_ITER = 30
    cfg.SOLVER.WARMUP_ITERS = 5
    cfg.SOLVER.WARMUP_FACTOR = 0.001
    cfg.SOLVER.BASE_LR = 5.0
    for key, value in keys.items():
        cfg.SOLVER[key] = value
    return cfg


def test_steps_after_a_linear_warm_up():
    optimizer = make_optimizer(5.0)
    scheduler = build_lr_scheduler(
        solver_config("WarmupMultiStepLR", STEPS=(10, 15, 20)), optimizer
    )
    warm_up = [5 * (0.001 + (1 - 0.001) * i / 5) for i in range(5)]
    expected = warm_up + [5.0] * 5 + [0.5] * 5 + [0.05] * 5 + [0.005] * 10
    assert rates(optimizer, scheduler, 30) == pytest.approx(expected)


def test_a_cosine_after_a_linear_warm_up():
    optimizer = make_optimizer(5.0)
    cfg = solver_config("WarmupCosineLR", BASE_LR_END=0.5)
    cosine = [0.5 + 4.5 * 0.5 * (1 + math.cos(math.pi * i / 30)) for i in range(30)]
    used = rates(optimizer, build_lr_scheduler(cfg, optimizer), 30)
    assert used[5:] == pytest.approx(cosine[5:])
    line = [0.005 + (cosine[5] - 0.005) * i / 5 for i in range(5)]
    assert used[:5] == pytest.approx(line)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5)  # after the last step


def test_a_constant_warm_up():
    optimizer = make_optimizer(5.0)
    cfg = solver_config("WarmupMultiStepLR", STEPS=(10,), WARMUP_METHOD="constant")
    used = rates(optimizer, build_lr_scheduler(cfg, optimizer), 10)
    assert used == pytest.approx([0.005] * 5 + [5.0] * 5)


def test_fixed_decays_with_rescaled_interval():
    optimizer = make_optimizer(5.0)
    cfg = solver_config("WarmupStepWithFixedGammaLR", NUM_DECAYS=4, RESCALE_INTERVAL=True)
    used = rates(optimizer, build_lr_scheduler(cfg, optimizer), 29)
    assert used[:5] == pytest.approx([0.005, 1.004, 2.003, 3.002, 4.001])
    expected = [5.0 * 0.1 ** (i // 5) for i in range(24)]
    assert used[5:] == pytest.approx(expected)


def test_the_embedded_host_steps_once_more_after_the_last_iteration():
    """As the trainer does; fvcore's schedule of fixed decays alone would fail there."""
    optimizer = make_optimizer(5.0)
    cfg = solver_config("WarmupStepWithFixedGammaLR", NUM_DECAYS=4)
    used = rates(optimizer, embedded_build_lr_scheduler(cfg, optimizer), 30)
    assert used[-1] == pytest.approx(5.0 * 0.1**4)


def test_steps_after_the_end_are_left_out():
    optimizer = make_optimizer(5.0)
    cfg = solver_config("WarmupMultiStepLR", STEPS=(10, 400), WARMUP_ITERS=0)
    used = rates(optimizer, build_lr_scheduler(cfg, optimizer), 30)
    assert used == pytest.approx([5.0] * 10 + [0.5] * 20)


def test_a_warm_up_longer_than_the_training_is_cut():
    optimizer = make_optimizer(5.0)
    cfg = solver_config("WarmupMultiStepLR", STEPS=(), WARMUP_ITERS=1000)
    used = rates(optimizer, build_lr_scheduler(cfg, optimizer), 29)
    assert used == sorted(used) and used[-1] < 5.0


@pytest.mark.parametrize("key", ["LR_SCHEDULER_NAME", "WARMUP_METHOD"])
def test_unknown_names_are_refused(key):
    cfg = solver_config("WarmupMultiStepLR", STEPS=())
    cfg.SOLVER[key] = "Nonsense"
    with pytest.raises(ValueError, match="Nonsense"):
        build_lr_scheduler(cfg, make_optimizer(1.0))


def test_groups_keep_their_ratio():
    optimizer = make_optimizer(1.0, 10.0)
    multiplier = WarmupParamScheduler(CosineParamScheduler(1, 0), 0.1, 0.2)
    scheduler = LRMultiplier(optimizer, multiplier, max_iter=10)
    for _ in range(9):
        optimizer.step()
        scheduler.step()
        first, second = (group["lr"] for group in optimizer.param_groups)
        assert second == pytest.approx(10 * first)


def test_a_restored_schedule_goes_on_where_it_was():
    def make():
        optimizer = make_optimizer(1.0)
        steps = MultiStepParamScheduler([1, 0.1], milestones=[6], num_updates=12)
        return optimizer, LRMultiplier(optimizer, WarmupParamScheduler(steps, 0.1, 0.25), 12)

    uninterrupted = rates(*make(), 12)
    optimizer, scheduler = make()
    before = rates(optimizer, scheduler, 7)
    states = optimizer.state_dict(), scheduler.state_dict()
    assert set(states[1]) == {"base_lrs", "last_epoch"}
    optimizer, scheduler = make()
    optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(states[1])
    assert before + rates(optimizer, scheduler, 5) == pytest.approx(uninterrupted)


def test_only_fvcore_schedules_are_taken():
    with pytest.raises(ValueError, match="ParamScheduler"):
        LRMultiplier(make_optimizer(1.0), lambda progress: 1.0, max_iter=10)
