"""Configuration: the default tree, the node class, and cfg-constructible callables."""

from .config import CfgNode, get_cfg
from .configurable import configurable
from .supported import check_part, check_supported, check_switched_off
