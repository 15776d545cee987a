"""Browses labelled data, and a detector's predictions beside it, in a page on this machine."""

from dyhead.viewer.run import view

__all__ = ["view"]
