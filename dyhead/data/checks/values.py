"""Reads ids, numbers and flags of annotation files in the forms that programs write them in.

Data frames write whole numbers as 1.0, spreadsheets put them in quotes, some tools write flags as
words. The value is the same, and is read as such.
"""

import math
import re
from typing import Any, TypeAlias

Id: TypeAlias = int | str

_WHOLE = re.compile(r"\s*(-?(?:0|[1-9][0-9]{0,99}))(?:\.0+)?\s*")  # "007" stays text
_NUMBER = re.compile(r"\s*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*")
_FLAGS = {"true": 1, "yes": 1, "false": 0, "no": 0, "": 0}


def read_id(value: Any) -> Id | None:
    """Read an id: whole numbers, also as 1.0 or in quotes, become int, other text stays text.

    Returns:
        None for what is no id: nothing, true or false, fractions, NaN, lists.
    """
    if type(value) is int:
        return value
    if isinstance(value, str):
        whole = _WHOLE.fullmatch(value)
        return int(whole[1]) if whole else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return None


def read_number(value: Any) -> int | float | None:
    """Read a finite number, also one in quotes; None for all else, too large ones among it."""
    if type(value) is float:
        return value if math.isfinite(value) else None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
        value = int(value) if value.is_integer() else value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an int that no float can hold
        return None


def read_flag(value: Any) -> int | None:
    """Read a flag as 0 or 1, also true, "1" or "true"; nothing is 0, and None what is no flag."""
    if value is None or value is False or value is True:
        return int(value or 0)
    if isinstance(value, str) and value.strip().lower() in _FLAGS:
        return _FLAGS[value.strip().lower()]
    number = read_number(value)
    return int(number) if number in (0, 1) else None


def id_order(value: Id | None) -> tuple[bool, Id | None]:
    """Return a key to sort what `read_id` read: numbers by size, then texts."""
    return isinstance(value, str), value
