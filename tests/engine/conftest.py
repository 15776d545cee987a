"""Fixtures of small runs."""

from toy_runs import make_config, rectangles, without_pictures

__all__ = ["make_config", "rectangles", "without_pictures"]
