"""The config: the project's keys beside Detectron2's, packaged files, loading, explanations."""

from dyhead.config.defaults import add_dyhead_config
from dyhead.config.find import find_config
from dyhead.config.load import load_config

__all__ = ["add_dyhead_config", "find_config", "load_config"]
