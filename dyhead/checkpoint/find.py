"""Finds the checkpoint that a user means, and the config that belongs to it."""

import os
from collections.abc import Sequence
from pathlib import Path

from dyhead.checkpoint.model_card import read_card
from dyhead.config import load_config
from dyhead.config.load import load_config_text
from dyhead.d2.config import CfgNode
from dyhead.errors import UserError, user_errors
from dyhead.safe_io.addresses import local_path
from dyhead.safe_io.tag import TAG, read_tag

CONFIG_NAME = "config.yaml"
BEST_FIRST = tuple(
    f"{name}{ending}"
    for name in ("model_best", "model_final")
    for ending in (".pth", ".safetensors")
)


def find_checkpoint(source: str | os.PathLike[str]) -> tuple[Path, Path | None]:
    """Find a checkpoint and the config beside it.

    Args:
        source: a run's folder (its model_best, else model_final, else what its last_checkpoint
            names), a file, or an address that MODEL.WEIGHTS takes. `~` and $VARIABLES are expanded.

    Returns:
        the file and the config.yaml of its folder, None where there is none.

    Raises:
        UserError: there is no such thing, or the folder holds no checkpoint.
    """
    text = os.path.expanduser(os.path.expandvars(os.fspath(source)))
    with user_errors():
        path = Path(local_path(text))
    if path.is_dir():
        path = _best_of(path)
    elif not path.is_file():
        raise UserError(
            f"{source} does not exist: name a run's folder, such as output/quickstart, or a"
            " checkpoint in it."
        )
    config = path.parent / CONFIG_NAME
    return path, config if config.is_file() else None


def _best_of(folder: Path) -> Path:
    for name in BEST_FIRST:
        if (folder / name).is_file():
            return folder / name
    return latest_checkpoint(folder)


def latest_checkpoint(folder: str | os.PathLike[str]) -> Path:
    """Return the checkpoint that the `last_checkpoint` of a run's folder names.

    Raises:
        UserError: the folder or that file is not there, or the tag holds no plain file name.
    """
    tag = Path(folder) / TAG
    if not tag.is_file():
        raise UserError(
            f"{folder} holds no checkpoint (model_best.pth, model_final.pth, or what a file"
            " last_checkpoint names): name a file, or the OUTPUT_DIR of a training."
        )
    with user_errors():
        latest = Path(folder) / read_tag(folder)
    if not latest.is_file():
        raise UserError(f"{tag} names {latest.name}, which is not there: name another checkpoint.")
    return latest


def load_own_config(
    path: str | os.PathLike[str],
    beside: str | os.PathLike[str] | None,
    overrides: Sequence[str] = (),
) -> CfgNode:
    """Build the config that a checkpoint was trained with: its model card's, or the one beside it.

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
