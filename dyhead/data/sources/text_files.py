"""Reads text files of labelling tools: any Unicode encoding, and numbers that are numbers."""

import codecs
import math
from pathlib import Path

from dyhead.errors import UserError

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_bytes(path: Path) -> bytes:
    """Read a regular file; a named pipe would never end.

    Raises:
        UserError: it is missing, no regular file, or can't be read.
    """
    if not path.is_file():
        problem = "is no regular file" if path.exists() else "does not exist"
        raise UserError(f"{path} {problem}: correct the path.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror or error}).") from error


def read_text(path: Path) -> str:
    """Read a text in UTF-8, or in the encoding that its byte order mark tells.

    Raises:
        UserError: it is missing, can't be read, or is in another encoding.
    """
    data = read_bytes(path)
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: no text in UTF-8: save it as such.") from error


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text, without white space around them; empty ones stay, as "".

    Raises:
        UserError: as for `read_text`.
    """
    return [line.strip() for line in read_text(path).splitlines()]


def finite_number(value: object) -> float | None:
    """Return the number that a text or number stands for; None where it is none, or not finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and "_" in value:  # Python reads 1_000
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def finite_numbers(values: object) -> list[float] | None:
    """Return the numbers of a list; None where it is no list, or one of them is no number."""
    if not isinstance(values, (list, tuple)):
        return None
    numbers = [finite_number(value) for value in values]
    return None if None in numbers else [number for number in numbers if number is not None]


def pixel_size(width: object, height: object) -> tuple[int, int] | None:
    """Return an image's size; None where a label leaves it out or has 0, as some tools write."""
    sizes = finite_number(width), finite_number(height)
    if sizes[0] is None or sizes[1] is None or sizes[0] < 1 or sizes[1] < 1:
        return None
    return int(sizes[0]), int(sizes[1])
