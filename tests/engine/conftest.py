"""Fixtures of small runs."""

from timed_training import clock
from toy_runs import make_config, rectangles, without_pictures

__all__ = ["clock", "make_config", "rectangles", "without_pictures"]
