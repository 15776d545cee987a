"""The config that belongs to a checkpoint: its model card's, or else the config.yaml beside it."""

import os
from collections.abc import Sequence

from dyhead.checkpoint.model_card import read_card
from dyhead.config import load_config
from dyhead.config.load import load_config_text
from dyhead.d2.config import CfgNode
from dyhead.errors import UserError, user_errors


def load_own_config(
    path: str | os.PathLike[str],
    beside: str | os.PathLike[str] | None,
    overrides: Sequence[str] = (),
) -> CfgNode:
    """Build the config that a checkpoint was trained with.

    Args:
        path: the checkpoint.
        beside: the config.yaml of its folder, see `find_checkpoint`.
        overrides: KEY VALUE pairs on top.

    Raises:
        UserError: there is neither, or it cannot be used.
    """
    with user_errors():
        card = read_card(path)
    if card is not None:
        return load_config_text(card.config, f"the config in {path}", overrides)
    if beside is not None:
        return load_config(beside, overrides)[0]
    raise UserError(
        f"{path} does not say of which detector it is, and no config.yaml lies beside it: name its"
        " config, such as --config dyhead_r50_atss_fpn_1x."
    )
