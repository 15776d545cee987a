"""The host's `utils`: one module per topic."""
