"""`train_net.py` as a module, and runs of it in this process."""

import importlib.util
from typing import Any

from small_program import PROJECT

from dyhead.engine import parse_arguments

_spec = importlib.util.spec_from_file_location("train_net", PROJECT / "train_net.py")
assert _spec and _spec.loader
train_net = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(train_net)


def run(arguments: list[str]) -> Any:
    """Run it with a command line; return what its `main` does."""
    return train_net.main(parse_arguments(arguments))
