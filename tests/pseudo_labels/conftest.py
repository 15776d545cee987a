"""Fixtures of the runs of `dyhead pseudo-label`."""

from pseudo_label_runs import clean_state, folder, label, pets

__all__ = ["clean_state", "folder", "label", "pets"]
