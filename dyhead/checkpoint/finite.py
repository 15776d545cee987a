"""Looks for numbers that are not finite in what is saved and loaded."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch


def names_of_bad_values(content: Any, name: str = "") -> Iterator[str]:
    """Yield the dotted names of the tensors in nested containers that hold NaN or infinities.

    Args:
        content: dicts, lists and tuples of tensors; anything else in them is passed over.
        name: of `content` itself.
    """
    if isinstance(content, torch.Tensor):
        if not is_finite(content):
            yield name
        return
    if isinstance(content, Mapping):
        parts = content.items()
    elif isinstance(content, list | tuple):
        parts = enumerate(content)  # type: ignore[assignment]
    else:
        return
    for key, part in parts:
        yield from names_of_bad_values(part, f"{name}.{key}" if name else str(key))


def is_finite(values: torch.Tensor) -> bool:
    """Tell whether no element of a tensor is NaN or infinite."""
    if not (values.is_floating_point() or values.is_complex()):
        return True
    # A sum is the quickest look that every such value changes; one that overflows is no proof.
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())
