"""The host's `config`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.config import CfgNode, configurable, get_cfg
else:
    from dyhead.d2._embedded.config import CfgNode, configurable, get_cfg

__all__ = [
    "CfgNode",
    "configurable",
    "get_cfg",
]
