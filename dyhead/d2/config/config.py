"""The configuration node and the way to a fresh default configuration."""

from typing import Any

from fvcore.common.config import CfgNode as _FvcoreCfgNode

from dyhead.safe_io.yaml import load_yaml_with_base

from ..utils.file_io import PathManager
from .configurable import configurable

__all__ = ["LATEST_VERSION", "CfgNode", "configurable", "get_cfg"]

LATEST_VERSION = 2


class CfgNode(_FvcoreCfgNode):
    """A tree of options with attribute access, type-checked merging, and freezing.

    `_BASE_` inheritance and `COMPUTED_` keys behave as in fvcore; YAML is only ever read safely.
    """

    @classmethod
    def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> dict[str, Any]:
        """Read a YAML file together with the files that its `_BASE_` names.

        Args:
            filename: a path, or an address that PathManager can fetch.
            allow_unsafe: accepted for compatibility only. Code in a file is never run; arithmetic
                in a `!!python/object/apply:eval` tag is computed by a safe evaluator.

        Raises:
            FileNotFoundError: the file, or a base of it, does not exist.
            ValueError: the YAML is malformed or holds a tag that is not plain arithmetic.
        """
        return load_yaml_with_base(PathManager.get_local_path(filename))

    def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = True) -> None:
        """Merge a YAML file into this configuration.

        Args:
            cfg_filename: a path, or an address that PathManager can fetch.
            allow_unsafe: accepted for compatibility only. Code in a file is never run; arithmetic
                in a `!!python/object/apply:eval` tag is computed by a safe evaluator.

        Raises:
            KeyError: the file sets a key that this configuration does not have.
            ValueError: a value has the wrong type, or the file is written for an older VERSION.
        """
        loaded = type(self)(self.load_yaml_with_base(cfg_filename))
        version = loaded.get("VERSION", LATEST_VERSION)
        if version != LATEST_VERSION:
            raise ValueError(
                f"{cfg_filename} has VERSION {version!r}, but only VERSION {LATEST_VERSION} can be"
                " read: rename its keys to today's and set VERSION: 2."
            )
        self.merge_from_other_cfg(loaded)


def get_cfg() -> CfgNode:
    """Return a new configuration that holds every key with its default value."""
    from .defaults import DEFAULTS

    return DEFAULTS.clone()
