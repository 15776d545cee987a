"""Records in a run's config.yaml from which file it was made, and reads that record again.

The config that a run writes is merged: it names no bases any more. A comment in its first line
does, "# made from my.yaml, on top of configs/own_dataset.yaml", and what is made from it inherits.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from dyhead.config.find import packaged_configs, packaged_folder
from dyhead.safe_io.yaml import bases_of

_LINE = re.compile(r"# made from (?P<file>.+?)(, on top of configs/(?P<base>[\w.-]+\.yaml))?")
_PACKAGED = "configs/"  # before a packaged config's name
_MAX_LENGTH = 1000  # characters of a first line that may be a record


@dataclass(frozen=True)
class Origin:
    """The file that a config was made from.

    Attributes:
        file: its name without folders, or "configs/" and the name of a packaged config.
        base: name of the packaged config that this is, or that it stands on; "" for none.
    """

    file: str
    base: str


def find_origin(config_file: str | os.PathLike[str]) -> Origin | None:
    """Find what a config is made from, through the files that `_BASE_` names.

    Of several bases the last one decides, as it does for the values.

    Args:
        config_file: a YAML file; one that has a record itself, as runs write it, passes it on.

    Returns:
        None where the file, or one that it stands on, cannot be read.
    """
    path = Path(config_file).expanduser()
    try:
        return read_origin(path) or _find(path)
    except (
        OSError,
        ValueError,
        RecursionError,
    ):  # whoever loads the config says what is wrong with it
        return None


def read_origin(config_file: Path) -> Origin | None:
    """Read the record in a config file; None where it has none.

    Raises:
        OSError: the file cannot be read.
    """
    with config_file.open(encoding="utf-8", errors="replace") as file:
        found = _LINE.fullmatch(file.readline(_MAX_LENGTH).rstrip("\n"))
    if found is None:
        return None
    base = found["base"] or found["file"].removeprefix(_PACKAGED)
    return Origin(found["file"], base if base in packaged_configs() else "")


def origin_comment(origin: Origin | None) -> str:
    """Write the record as a line of YAML; "" for None."""
    if origin is None:
        return ""
    is_packaged = origin.file == _PACKAGED + origin.base
    base = f", on top of {_PACKAGED}{origin.base}" if origin.base and not is_packaged else ""
    return f"# made from {origin.file}{base}\n"


def _find(path: Path) -> Origin:
    base = _packaged_base(path)
    is_packaged = base and _is_packaged(path)
    printable = "".join(c if c.isprintable() else "?" for c in path.name)  # a line stays a line
    return Origin(_PACKAGED + base if is_packaged else printable, base)


def _packaged_base(path: Path) -> str:
    if _is_packaged(path):
        return path.name
    found = (read_origin(base) or _find(base) for base in map(Path, reversed(bases_of(path))))
    return next((origin.base for origin in found if origin.base), "")


def _is_packaged(path: Path) -> bool:
    return path.resolve().parent == packaged_folder().resolve()
