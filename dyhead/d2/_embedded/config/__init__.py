"""Configuration: the default tree, the node class, and cfg-constructible callables."""

from .config import CfgNode, get_cfg
from .configurable import configurable
from .supported import check_supported

__all__ = ["CfgNode", "check_supported", "configurable", "get_cfg"]
