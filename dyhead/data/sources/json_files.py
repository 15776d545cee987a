"""Reads json files of labelling tools."""

import json
from pathlib import Path
from typing import Any

from dyhead.data.sources.text_files import read_text
from dyhead.errors import UserError


def read_json(path: Path) -> Any:
    """Read a file.

    Raises:
        UserError: it can't be read or is no json.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{path} is no valid json file ({error}): export it anew.") from error
    except RecursionError as error:
        raise UserError(f"{path} is nested too deeply: export it anew.") from error


def first_character(path: Path) -> str:
    """Return the first character of a json file, in any Unicode encoding; "" where it is empty."""
    try:
        with open(path, "rb") as file:
            head = file.read(256)
    except OSError:
        return ""
    visible = head.lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n")
    return chr(visible[0]) if visible else ""
