#!/usr/bin/env python3
"""Train or evaluate a detector: `python train_net.py --config configs/quickstart.yaml`."""

import sys

from dyhead.errors import UserError

try:
    from dyhead.engine import exit_on_user_error, launch, parse_arguments
    from dyhead.engine.train_net import evaluate, main, setup
except UserError as error:  # DYHEAD_HOST names no host that is there
    sys.exit(f"Error: {error}")

__all__ = ["evaluate", "main", "setup"]

if __name__ == "__main__":
    with exit_on_user_error():
        launch(main, parse_arguments())
