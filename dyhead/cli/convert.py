"""`dyhead convert`: anybody's weights in the project's own, or in the official, layout."""

import argparse
import json
import logging
import os

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from dyhead.checkpoint.containers import load_weights
from dyhead.checkpoint.importers import Imported, import_weights, official
from dyhead.checkpoint.importers.own import FPN
from dyhead.checkpoint.model_card import KEY, ModelCard, read_card
from dyhead.d2.safe_io.addresses import local_path
from dyhead.d2.safe_io.save import save_checkpoint_file, write_bytes_atomically
from dyhead.errors import UserError, user_errors

logger = logging.getLogger(__name__)

LAYOUTS = ("own", "official")


def register(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand to `commands`."""
    parser = commands.add_parser(
        "convert",
        help="write a checkpoint's weights in another layout",
        description="Read the weights of any checkpoint that MODEL.WEIGHTS takes, and write them"
        " under other names, with the model card if there is one. Training states are left out.",
    )
    parser.add_argument(
        "input", metavar="IN", help="a file, or an address such as detectron2://..."
    )
    parser.add_argument("output", metavar="OUT", help="a .safetensors or .pth file")
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        default="own",
        help="names of the weights: the project's own (default), or the official code's",
    )
    parser.add_argument(
        "--strip",
        action="store_true",
        help="keep the names as they are, whosever they are: only leave out what a training needs"
        " to go on (optimizer, schedule, iteration)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Convert `args.input` to `args.output`.

    Raises:
        UserError: the input cannot be read or recognised, or the output cannot be written.
    """
    if args.strip:
        _run_strip(args)
        return
    imported = convert(args.input, args.output, args.layout)
    print(
        f"{args.output}: {len(imported.weights)} weights from {imported.source},"
        f" {args.layout} layout"
    )
    if imported.requirements and not imported.is_backbone:
        print("Where they come from, the config says:")
        for key, value in imported.requirements.items():
            print(f"  {key} {value}")


def convert(source: str, target: str, layout: str = "own") -> Imported:
    """Write the weights of one file to another.

    Args:
        source: a file or an address.
        target: a file that ends in .safetensors or .pth.
        layout: "own" or "official".

    Returns:
        what was written, under own names.

    Raises:
        UserError: see `run`.
    """
    _check_target(target)
    with user_errors():
        path = local_path(source)
        imported = import_weights(load_weights(path)["model"])
    if imported is None:
        raise UserError(
            f"{source} holds weights under names of no code that is known here: docs/weights.md"
            " lists those that are."
        )
    notes = {"source": imported.source, "layout": layout}
    _write(_in_layout(imported, layout), _card_or_none(path), notes, target)
    return imported


def _run_strip(args: argparse.Namespace) -> None:
    if args.layout != "own":
        raise UserError("--strip keeps the names of the weights: leave --layout out.")
    number = strip(args.input, args.output)
    sizes = [os.path.getsize(path) / 1e6 for path in (local_path(args.input), args.output)]
    print(f"{args.output}: {number} weights, {sizes[1]:.1f} MB in the place of {sizes[0]:.1f} MB")


def strip(source: str, target: str) -> int:
    """Write weights and model card of one file to another, without the state of a training.

    Args:
        source: a file or an address.
        target: a file that ends in .safetensors or .pth.

    Returns:
        the number of weights.

    Raises:
        UserError: see `run`.
    """
    _check_target(target)
    with user_errors():
        path = local_path(source)
        loaded = load_weights(path)["model"]
    weights = {name: _with_own_memory(torch.as_tensor(value)) for name, value in loaded.items()}
    _write(weights, _card_or_none(path), {}, target)
    return len(weights)


def _check_target(target: str) -> None:
    ending = os.path.splitext(target)[1]
    if ending not in (".safetensors", ".pth"):
        raise UserError(f"{target} has the ending {ending!r}: choose .safetensors or .pth.")


def _card_or_none(path: str) -> ModelCard | None:
    """The card of a file; a damaged one is left out, and that is said."""
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
                {"model": weights, **({KEY: plain} if plain else {}), **notes}, target
            )
        else:
            metadata = {"format": "pt", **({KEY: json.dumps(plain)} if plain else {}), **notes}
            write_bytes_atomically(to_safetensors(weights, metadata), target)


def _in_layout(imported: Imported, layout: str) -> dict[str, Tensor]:
    """Weights under the names of a layout, each with memory of its own, as safetensors wants."""
    prefix = f"{FPN}bottom_up." if imported.is_backbone else ""
    own = {prefix + name: _with_own_memory(weight) for name, weight in imported.weights.items()}
    return official.to_official(own) if layout == "official" else own


def _with_own_memory(weight: Tensor) -> Tensor:
    return weight.clone(memory_format=torch.contiguous_format)
