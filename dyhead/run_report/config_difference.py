"""Compares the config of a run with the packaged config that it comes from."""

import functools
from dataclasses import dataclass
from typing import Any

from dyhead.config import load_config
from dyhead.config.find import is_base, packaged_configs, packaged_folder
from dyhead.config.origin import Origin
from dyhead.config.reference import differences
from dyhead.d2.config import CfgNode

# They follow from the machine and from where the run is written.
_OF_THE_MACHINE = ("OUTPUT_DIR", "MODEL.DEVICE", "DATALOADER.NUM_WORKERS", "VERSION")


@dataclass(frozen=True)
class ConfigDifference:
    """The keys that a run sets otherwise than a packaged config.

    Attributes:
        base: name of that packaged config.
        keys: (key, its value in `base`, the run's value).
        is_recorded: the run's config.yaml says that it was made from `base`; else `base` is the
            packaged config that differs in the fewest keys.
        file: the config file that the run was started with; "" where that is not recorded.
    """

    base: str
    keys: list[tuple[str, Any, Any]]
    is_recorded: bool
    file: str


def base_difference(cfg: CfgNode, origin: Origin | None) -> ConfigDifference:
    """Compare a run's config with the packaged one that it was made from, or is nearest to.

    Args:
        cfg: the run's.
        origin: what its config.yaml says of that.
    """
    if origin is not None and origin.base:
        base = origin.base.removesuffix(".yaml")
        keys = compare_configs(load_config(packaged_folder() / origin.base)[0], cfg)
        return ConfigDifference(base, keys, True, origin.file)
    candidates = [(name, compare_configs(packaged, cfg)) for name, packaged in _packaged()]
    base, keys = min(candidates, key=lambda each: len(each[1]))
    return ConfigDifference(base, keys, False, "" if origin is None else origin.file)


@functools.cache
def _packaged() -> list[tuple[str, CfgNode]]:
    names = [name for name in packaged_configs() if not is_base(name)]
    return [
        (name.removesuffix(".yaml"), load_config(packaged_folder() / name)[0]) for name in names
    ]


def compare_configs(first: CfgNode, second: CfgNode) -> list[tuple[str, Any, Any]]:
    """List the keys with other values, without those that follow from the machine."""
    found = differences(first, second)
    return [difference for difference in found if difference[0] not in _OF_THE_MACHINE]
