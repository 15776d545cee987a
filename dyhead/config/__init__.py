"""Every config key that the project adds to Detectron2's, and how a config is loaded."""

from dyhead.config.keys import add_dyhead_config
from dyhead.config.load import load_config

__all__ = ["add_dyhead_config", "load_config"]
