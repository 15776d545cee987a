"""Registries of named classes and functions."""

import pydoc
from typing import Any

from fvcore.common.registry import Registry

__all__ = ["Registry", "locate"]


def locate(name: str) -> Any:
    """Return the object at a dotted path such as "torch.optim.SGD".

    Raises:
        ImportError: nothing can be imported under that path.
    """
    found = pydoc.locate(name)
    if found is None:
        raise ImportError(f"{name!r} cannot be imported: give the full dotted path of the object.")
    return found
