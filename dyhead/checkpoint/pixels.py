"""Colours and pixel statistics that follow from the weights which a detector starts from."""

import logging
from collections.abc import Mapping
from typing import Any

from dyhead.checkpoint.importers import import_weights, timm
from dyhead.checkpoint.model_card import read_card
from dyhead.config.load import load_config_text, value_of
from dyhead.config.pixel_keys import PIXEL_KEYS
from dyhead.d2.config import CfgNode
from dyhead.errors import UserError, user_errors
from dyhead.safe_io.addresses import full_address, local_path
from dyhead.safe_io.checkpointer import split_query
from dyhead.safe_io.containers import load_weights
from dyhead.safe_io.library_weights import TIMM_PREFIX, timm_facts

logger = logging.getLogger(__name__)


def settle_pixels(cfg: CfgNode, weights: str | None = None) -> CfgNode:
    """Let MODEL.PIXELS_FROM_WEIGHTS act; settling again changes nothing.

    Args:
        cfg: unchanged; returned itself where there is nothing to do.
        weights: what is really loaded, as MODEL.WEIGHTS names it; None for MODEL.WEIGHTS.

    Returns:
        a config, frozen as `cfg`, whose INPUT.FORMAT, MODEL.PIXEL_MEAN and MODEL.PIXEL_STD are
        those that the weights were trained with, and whose PIXELS_FROM_WEIGHTS is False. Random
        weights leave them as they are, with a warning.

    Raises:
        UserError: nothing is known of the weights, or they cannot be read.
    """
    if not cfg.MODEL.PIXELS_FROM_WEIGHTS:
        return cfg
    source = cfg.MODEL.WEIGHTS if weights is None else weights
    if not source and cfg.MODEL.TIMM.PRETRAINED and "timm" in cfg.MODEL.BACKBONE.NAME:
        source = TIMM_PREFIX + cfg.MODEL.TIMM.NAME
    settled = cfg.clone()
    settled.defrost()
    settled.MODEL.PIXELS_FROM_WEIGHTS = False
    if source:
        pixels = known_pixels(source)
        settled.merge_from_list([part for item in pixels.items() for part in item])
        told = ", ".join(f"{key} {value}" for key, value in pixels.items())
        logger.info("As %s was trained: %s.", source, told)
    else:
        logger.warning(
            "MODEL.WEIGHTS is empty, but this config counts on pretrained weights: pixels stay as"
            " MODEL.PIXEL_MEAN %s and MODEL.PIXEL_STD %s make them%s. own_dataset_from_random is a"
            " config for random weights.",
            list(cfg.MODEL.PIXEL_MEAN),
            list(cfg.MODEL.PIXEL_STD),
            _frozen(cfg),
        )
    if cfg.is_frozen():
        settled.freeze()
    return settled


def _frozen(cfg: CfgNode) -> str:
    """Say what stays as it is without having learned anything."""
    frozen = []
    if "timm" in cfg.MODEL.BACKBONE.NAME and cfg.MODEL.TIMM.NORM == "FrozenBN":
        frozen.append("MODEL.TIMM.NORM FrozenBN freezes norms")
    if cfg.MODEL.BACKBONE.FREEZE_AT > 0:
        frozen.append(f"MODEL.BACKBONE.FREEZE_AT {cfg.MODEL.BACKBONE.FREEZE_AT} freezes stages")
    return f", and {' and '.join(frozen)} that have learned nothing" if frozen else ""


def known_pixels(weights: str) -> dict[str, Any]:
    """Find colours and statistics that weights were trained with: values of `PIXEL_KEYS`, by key.

    Known are those of timm's addresses, of checkpoints with a model card, and of what an importer
    recognises by its content.

    Args:
        weights: as MODEL.WEIGHTS takes them.

    Raises:
        UserError: they are not known, or the weights cannot be read.
    """
    with user_errors():
        source = full_address(split_query(weights)[0])
        if source.startswith(TIMM_PREFIX):
            return timm.pixels_of(timm_facts(source))
        found = _pixels_of_file(local_path(source))
    if found is None:
        raise UserError(
            f"Nothing is known of the pixels that {weights} was trained on: set"
            f" MODEL.PIXELS_FROM_WEIGHTS False, and {', '.join(PIXEL_KEYS)} yourself."
        )
    return found


def _pixels_of_file(path: str) -> dict[str, Any] | None:
    card = read_card(path)
    if card is not None:
        config = load_config_text(card.config, f"the config in {path}")
        return {key: value_of(config, key) for key in PIXEL_KEYS}
    imported = import_weights(load_weights(path)["model"])
    needs: Mapping[str, Any] = {} if imported is None else imported.requirements
    return {key: needs[key] for key in PIXEL_KEYS} if needs.keys() >= set(PIXEL_KEYS) else None
