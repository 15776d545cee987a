import random

import numpy as np
import pytest
import torch

from dyhead.d2.utils.collect_env import collect_env_info
from dyhead.d2.utils.env import seed_all_rng
from dyhead.d2.utils.registry import Registry


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(1))


@pytest.fixture(autouse=True)
def keep_environment(monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")


def test_seeding_repeats_every_generator():
    seed_all_rng(5)
    first = draw()
    seed_all_rng(5)
    assert draw() == first
    seed_all_rng(6)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_seeding_without_a_seed_differs_each_time():
    seed_all_rng(None)
    first = draw()
    seed_all_rng(None)
    assert draw() != first


def test_environment_names_the_versions_that_matter():
    info = collect_env_info()
    for part in (torch.__version__, np.__version__, "torchvision", "fvcore"):
        assert part in info


def test_registry_finds_what_was_registered_and_names_what_was_not():
    registry = Registry("THING")

    @registry.register()
    class Thing:
        pass

    assert registry.get("Thing") is Thing
    with pytest.raises(KeyError, match="Nothing"):
        registry.get("Nothing")
