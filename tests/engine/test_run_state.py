"""A run goes on with its random numbers and moving averages, besides weights and optimizer."""

import itertools
import random

import numpy as np
import pytest
import torch
from torch import nn

from dyhead.d2.utils import comm
from dyhead.data.seeding import kept_generators
from dyhead.engine.run_state import RunState


class Normalised(nn.Module):
    """Has the moving average of RetinaNet, which is neither weight nor buffer."""

    def __init__(self, loss_normalizer: float) -> None:
        super().__init__()
        self.loss_normalizer = loss_normalizer


def test_moving_averages_and_the_seed_are_taken_over() -> None:
    state = RunState(nn.Sequential(Normalised(42.5), Normalised(7.0)), [], seed=3).state_dict(5)
    model = nn.Sequential(Normalised(100.0), Normalised(100.0))
    resumed = RunState(model, [], seed=9)
    resumed.load_state_dict(state, 5)
    assert [module.loss_normalizer for module in model] == [42.5, 7.0]
    assert resumed.seed == 3


def test_random_numbers_follow_from_seed_step_and_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(seed: int, step: int, rank: int) -> tuple[float, ...]:
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        RunState(nn.Identity(), [], seed).begin_step(step)
        return torch.rand(()).item(), float(np.random.rand()), random.random()

    with kept_generators():
        places = list(itertools.product((3, 4), (0, 1), (0, 1)))
        drawn = [draw(*place) for place in places]
        assert [draw(*place) for place in places] == drawn
    for numbers in zip(*drawn, strict=True):  # of each generator
        assert len(set(numbers)) == len(places)
