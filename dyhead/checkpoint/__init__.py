"""Saves and loads training states and weights."""

from dyhead.checkpoint.safe_checkpointer import SafeCheckpointer

__all__ = ["SafeCheckpointer"]
