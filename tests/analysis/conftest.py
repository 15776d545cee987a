from collections.abc import Callable
from pathlib import Path

import pytest

import dyhead.modeling  # noqa: F401
from dyhead.config import load_config
from dyhead.d2.config import CfgNode

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="session")
def make_config() -> Callable[..., CfgNode]:
    """Loads a file of configs/ with overrides, for the CPU."""

    def make(*opts: str, name: str = "Base-ATSS-DyHead-R18-small.yaml") -> CfgNode:
        cfg, _ = load_config(str(CONFIGS / name), ["MODEL.DEVICE", "cpu", *opts])
        return cfg

    return make
