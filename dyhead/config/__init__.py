"""Every config key that the project adds to Detectron2's, and how a config is found and loaded."""

from dyhead.config.find import find_config
from dyhead.config.keys import add_dyhead_config
from dyhead.config.load import load_config

__all__ = ["add_dyhead_config", "find_config", "load_config"]
