"""Reads the header of a config: the comment at its beginning.

Its first sentence describes the config. Further lines may give the scores that others published and
those that were measured with this project:

    # Published: box AP <number> on <data> (<source>).
    # Measured here: box AP <number> on <data> (<remarks>).
"""

import re
from pathlib import Path

SCORES = ("Published", "Measured here")  # beginnings of lines with scores


def read_header(path: Path) -> str:
    """Return the comment at the beginning of a file, without its "# "."""
    comment = re.match(r"(#.*\n)*", path.read_text(encoding="utf-8"))
    lines = comment[0].splitlines() if comment else []
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)


def first_sentence(header: str) -> str:
    """Take the text before the first full stop, on one line.

    Raises:
        ValueError: the header does not begin with a sentence.
    """
    sentence = re.match(r"(\S.*?)\.(\s|$)", header, re.DOTALL)
    if not sentence or any(kind in sentence[1] for kind in SCORES):
        raise ValueError("the header has to begin with a sentence that says what this is.")
    return " ".join(sentence[1].split())
