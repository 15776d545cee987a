"""Rewrites anybody's weights in the project's own, or in the official, layout."""

import os

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from dyhead.checkpoint.containers import load_weights
from dyhead.checkpoint.importers import Imported, import_weights, official
from dyhead.checkpoint.importers.own import FPN
from dyhead.d2.safe_io.addresses import local_path
from dyhead.d2.safe_io.save import save_checkpoint_file, write_bytes_atomically
from dyhead.errors import UserError, user_errors


def convert(source: str, target: str, layout: str = "own") -> Imported:
    """Write the weights of one file to another.

    Args:
        source: a file or an address.
        target: a file that ends in .safetensors or .pth.
        layout: "own" or "official".

    Returns:
        what was written, under own names.

    Raises:
        UserError: the input cannot be read or recognised, or the output cannot be written.
    """
    ending = os.path.splitext(target)[1]
    if ending not in (".safetensors", ".pth"):
        raise UserError(f"{target} has the ending {ending!r}: choose .safetensors or .pth.")
    with user_errors():
        imported = import_weights(load_weights(local_path(source))["model"])
    if imported is None:
        raise UserError(
            f"{source} holds weights under names of no code that is known here: docs/weights.md"
            " lists those that are."
        )
    weights = _in_layout(imported, layout)
    with user_errors(target):
        if ending == ".pth":
            save_checkpoint_file({"model": weights, "source": imported.source}, target)
        else:
            metadata = {"format": "pt", "source": imported.source, "layout": layout}
            write_bytes_atomically(to_safetensors(weights, metadata), target)
    return imported


def _in_layout(imported: Imported, layout: str) -> dict[str, Tensor]:
    """Weights under the names of a layout, each with memory of its own, as safetensors wants."""
    prefix = f"{FPN}bottom_up." if imported.is_backbone else ""
    own = {
        prefix + name: weight.clone(memory_format=torch.contiguous_format)
        for name, weight in imported.weights.items()
    }
    return official.to_official(own) if layout == "official" else own
