"""Checks config values against the ranges of their keys."""

import itertools
from typing import Any

from dyhead.config.host_ranges import HOST_RANGES
from dyhead.config.own_ranges import OWN_RANGES
from dyhead.config.ranges import Range
from dyhead.d2.config import CfgNode
from dyhead.errors import UserError

_LONGEST = 80  # characters of a value that an error shows

RANGES: dict[str, Range] = {
    f"{group}.{key}".lstrip("."): allowed
    for group, keys in itertools.chain(HOST_RANGES.items(), OWN_RANGES.items())
    for key, allowed in keys.items()
}


def check_ranges(cfg: CfgNode) -> None:
    """Make sure that every value of a config lies in its key's range.

    Keys that another project has added have no range here.

    Raises:
        UserError: one does not; the message names the key, the value and what is allowed.
    """
    for key, allowed in RANGES.items():
        value: Any = cfg
        for part in key.split("."):
            if not isinstance(value, CfgNode) or part not in value:
                break
            value = value[part]
        else:
            if not allowed.accepts(value):
                raise UserError(describe_refusal(key, value))


def describe_refusal(key: str, value: Any, source: str = "", example: Any = None) -> str:
    """Say in a sentence that a key cannot have a value, and what it may be.

    Args:
        key: the dotted name.
        value: what was asked for.
        source: where that stands, such as a file.
        example: shows how a list is written on a command line.
    """
    shown = repr(value)
    if len(shown) > _LONGEST:
        shown = f"{shown[:_LONGEST]}..."
    where = f"{source}: " if source else ""
    allowed = RANGES[key].words if key in RANGES else "of the type of its default value"
    form = f', such as {key} "{example}"' if isinstance(example, list | tuple) and example else ""
    return f"{where}{key} can't be {shown}: it has to be {allowed}{form}."
