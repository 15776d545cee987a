"""The checkpoint that a user means by a run's folder, a file or an address."""

import os
from pathlib import Path

from dyhead.errors import UserError, user_errors
from dyhead.safe_io.addresses import local_path

CONFIG_NAME = "config.yaml"
_BEST_FIRST = tuple(
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
    for name in _BEST_FIRST:
        if (folder / name).is_file():
            return folder / name
    return latest_checkpoint(folder)


def latest_checkpoint(folder: str | os.PathLike[str]) -> Path:
    """The checkpoint that the `last_checkpoint` of a run's folder names.

    Raises:
        UserError: the folder or that file is not there.
    """
    tag = Path(folder) / "last_checkpoint"
    if not tag.is_file():
        raise UserError(
            f"{folder} holds no checkpoint (model_best.pth, model_final.pth, or what a file"
            " last_checkpoint names): name a file, or the OUTPUT_DIR of a training."
        )
    with user_errors(str(tag)):
        latest = Path(folder) / tag.read_text(encoding="utf-8").strip()
    if not latest.is_file():
        raise UserError(f"{tag} names {latest.name}, which is not there: name another checkpoint.")
    return latest
