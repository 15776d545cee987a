"""Reads the chunks of a PNG file that Pillow passes over, without decoding its pixels."""

import struct
from collections.abc import Iterator
from typing import IO

_SIGNATURE = 8  # bytes
_READ = (b"sBIT", b"eXIf")


def read_chunks(file: IO[bytes]) -> dict[bytes, bytes]:
    """Read the chunks "sBIT" (significant bits per channel) and "eXIf" of a PNG file.

    Args:
        file: an open PNG file, with a signature that was checked; its position is moved.

    Raises:
        EOFError: the file ends within a chunk.
    """
    return {name: file.read(length) for name, length in _walk(file) if name in _READ}


def _walk(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """Give each chunk's name and length, with the file at its content."""
    end = file.seek(0, 2)
    position = _SIGNATURE
    while True:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":  # Pillow does without the last chunk
            return
        length, name = struct.unpack(">I4s", head)
        position += 12 + length  # with the checksum
        if position > end:
            raise EOFError("the PNG file is truncated")
        yield name, length
