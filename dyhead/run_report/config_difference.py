"""Compares the config of a run with the packaged config that it comes from."""

import functools
from dataclasses import dataclass
from typing import Any

from dyhead.config import load_config
from dyhead.config.find import is_base, packaged_configs
from dyhead.config.reference import differences
from dyhead.d2.config import CfgNode

# They follow from the machine and from where the run is written.
_OF_THE_MACHINE = ("OUTPUT_DIR", "MODEL.DEVICE", "DATALOADER.NUM_WORKERS", "VERSION")


@dataclass(frozen=True)
class ConfigDifference:
    """The keys that a run sets otherwise than a packaged config.

    Attributes:
        base: name of the packaged config that differs in the fewest keys.
        keys: (key, its value in `base`, the run's value).
    """

    base: str
    keys: list[tuple[str, Any, Any]]


def nearest_config(cfg: CfgNode) -> ConfigDifference:
    """Find the packaged config that a run's config differs from in the fewest keys.

    A run's own config.yaml is merged and does not tell from which file it was made.
    """
    candidates = [
        ConfigDifference(name, compare_configs(packaged, cfg)) for name, packaged in _packaged()
    ]
    return min(candidates, key=lambda each: len(each.keys))


@functools.cache
def _packaged() -> list[tuple[str, CfgNode]]:
    names = [name for name in packaged_configs() if not is_base(name)]
    return [(name.removesuffix(".yaml"), load_config(name)[0]) for name in names]


def compare_configs(first: CfgNode, second: CfgNode) -> list[tuple[str, Any, Any]]:
    """List the keys with other values, without those that follow from the machine."""
    found = differences(first, second)
    return [difference for difference in found if difference[0] not in _OF_THE_MACHINE]
