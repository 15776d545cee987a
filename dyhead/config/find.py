"""Finds a config: a file, or one of those that the project brings, by its name from any folder."""

import difflib
import functools
import os
from pathlib import Path, PurePath

from dyhead.errors import UserError

_PACKAGE = Path(__file__).parents[1]


@functools.cache
def packaged_folder() -> Path:
    """Return the folder of the project's own configs: inside the package, or in a clone beside it.

    Raises:
        UserError: the installation lacks them.
    """
    for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs"):
        if (folder / "quickstart.yaml").is_file():
            return folder
    raise UserError(f"{_PACKAGE} was installed without its configs: install dyhead again.")


def packaged_configs() -> list[str]:
    """List the project's own configs by name, such as "quickstart.yaml".

    Some only serve as a base of others, see `is_base`.
    """
    folder = packaged_folder()
    return sorted(path.name for path in folder.glob("*.yaml"))


def is_base(name: str) -> bool:
    """Tell by its name whether a config only serves as a base of others."""
    return PurePath(name).name.startswith("Base-")


def find_config(name_or_path: str | os.PathLike[str]) -> Path:
    """Find the file of a config.

    Args:
        name_or_path: a path, which may begin with ~; where there is no such file, a name of
            `packaged_configs`, with or without "configs/" before it and ".yaml" behind it.

    Raises:
        UserError: it is a folder, or neither; then the message has the nearest names.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    name = PurePath(name_or_path).as_posix().removeprefix("configs/").removesuffix(".yaml")
    names = [packaged.removesuffix(".yaml") for packaged in packaged_configs()]
    if name in names:
        return packaged_folder() / f"{name}.yaml"
    if path.is_dir():
        raise UserError(f"{path} is a folder, no config: name a YAML file in it.")
    raise UserError(
        f"There is no config {os.fspath(name_or_path)}, neither a file nor one of the project's"
        f" own: did you mean {' or '.join(_nearest(name, names))}? `dyhead configs list` shows all."
    )


def _nearest(name: str, names: list[str], count: int = 3) -> list[str]:
    """Return the names most like `name`, or else most like its last part, as of a path."""
    public = [known for known in names if not is_base(known)]
    last_part = name.rpartition("/")[2]
    for wanted, cutoff in ((name, 0.6), (last_part, 0.6), (last_part, 0.0)):
        if found := difflib.get_close_matches(wanted, public, count, cutoff):
            return found
    return public[:count]
