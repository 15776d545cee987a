"""Reads json files as programs on any system write them, or says in a sentence why not."""

import codecs
import json
from pathlib import Path
from typing import Any

from dyhead.errors import UserError

_GZIP = b"\x1f\x8b"


def read_json(path: Path) -> Any:
    """Read a json file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    NaN and numbers too large for a float are read as Python does: those who use them check.

    Raises:
        UserError: the file cannot be read, or is no json.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} can't be read: it is no file.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}).") from error
    if data.startswith(_GZIP):
        raise UserError(f"{path} is no valid json file but compressed: unpack it.")
    try:
        return json.loads(data.decode(json.detect_encoding(data)))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is no valid json file, for its text is not in {error.encoding.upper()}"
            f" (byte {error.start}): save it as UTF-8."
        ) from error
    except RecursionError as error:
        raise UserError(f"{path} is nested too deeply to be read: export it anew.") from error
    except ValueError as error:
        raise UserError(f"{path} is no valid json file ({error}): export it anew.") from error


def is_plain_utf8(path: Path) -> bool:
    """Return True for text in UTF-8 without a byte order mark, which every program can read."""
    with path.open("rb") as file:
        start = file.read(4)
    return not start.startswith(codecs.BOM_UTF8) and json.detect_encoding(start) == "utf-8"
