"""Utilities of the embedded host: one module per topic."""
