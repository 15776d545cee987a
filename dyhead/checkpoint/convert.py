"""Rewrites anybody's weights in the project's own, or in the official, layout."""

import logging
import os

import torch
from torch import Tensor

from dyhead.checkpoint.importers import Imported, import_weights, official
from dyhead.checkpoint.importers.own import FPN
from dyhead.checkpoint.model_card import CARD_KEY, ModelCard, read_card
from dyhead.errors import UserError, user_errors
from dyhead.output_folder import refuse_inputs
from dyhead.safe_io.addresses import local_path
from dyhead.safe_io.containers import load_weights
from dyhead.safe_io.digest import to_safetensors
from dyhead.safe_io.json_text import strict_json
from dyhead.safe_io.save import save_checkpoint_file, write_bytes_atomically

logger = logging.getLogger(__name__)


def convert(source: str, target: str, layout: str = "own") -> Imported:
    """Write the weights of one file to another.

    Args:
        source: a file or an address.
        target: a file that ends in .safetensors or .pth.
        layout: "own" or "official".

    Returns:
        what was written, under own names.

    Raises:
        UserError: the input cannot be read or recognised, or the output is the input or cannot be
            written.
    """
    path = _check_paths(source, target)
    with user_errors():
        imported = import_weights(load_weights(path)["model"])
    if imported is None:
        raise UserError(
            f"{source} holds weights under names of no code that is known here: docs/weights.md"
            " lists those that are."
        )
    notes = {"source": imported.source, "layout": layout}
    _write(_in_layout(imported, layout), _card_or_none(path), notes, target)
    return imported


def strip(source: str, target: str) -> int:
    """Write weights and model card of one file to another, without the state of a training.

    Args:
        source: a file or an address.
        target: a file that ends in .safetensors or .pth.

    Returns:
        the number of weights.

    Raises:
        UserError: the input cannot be read, or the output is the input or cannot be written.
    """
    path = _check_paths(source, target)
    with user_errors():
        loaded = load_weights(path)["model"]
    weights = {name: _with_own_memory(torch.as_tensor(value)) for name, value in loaded.items()}
    _write(weights, _card_or_none(path), {}, target)
    return len(weights)


def _check_paths(source: str, target: str) -> str:
    """Return the file of the source."""
    ending = os.path.splitext(target)[1]
    if ending not in (".safetensors", ".pth"):
        raise UserError(f"{target} has the ending {ending!r}: choose .safetensors or .pth.")
    with user_errors():
        path = local_path(source)
    refuse_inputs(target, [path])
    return path


def _card_or_none(path: str) -> ModelCard | None:
    """Return the card of a file; of a damaged one warn, and go on without it."""
    try:
        return read_card(path)
    except ValueError as error:
        logger.warning("The model card is left out. %s", error)
        return None


def _write(
    weights: dict[str, Tensor], card: ModelCard | None, notes: dict[str, str], target: str
) -> None:
    """Write weights, card and further short texts."""
    plain = None if card is None else card.as_plain()
    with user_errors(target):
        if target.endswith(".pth"):
            save_checkpoint_file(
                {"model": weights, **({CARD_KEY: plain} if plain else {}), **notes}, target
            )
        else:
            described = {CARD_KEY: strict_json(plain)} if plain else {}
            metadata = {"format": "pt", **described, **notes}
            write_bytes_atomically(to_safetensors(weights, metadata), target)


def _in_layout(imported: Imported, layout: str) -> dict[str, Tensor]:
    """Return weights under a layout's names, each with memory of its own, as safetensors wants."""
    prefix = f"{FPN}bottom_up." if imported.is_backbone else ""
    own = {prefix + name: _with_own_memory(weight) for name, weight in imported.weights.items()}
    return official.to_official(own) if layout == "official" else own


def _with_own_memory(weight: Tensor) -> Tensor:
    return weight.clone(memory_format=torch.contiguous_format)
