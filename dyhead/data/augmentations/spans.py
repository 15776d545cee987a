"""Lays pictures into rooms of another size, one axis at a time."""

from typing import NamedTuple

import numpy as np


class Span(NamedTuple):
    """A stretch of pixels of one axis that a picture and a room share."""

    source: int  # its first pixel in the picture
    target: int  # its first pixel in the room
    length: int


def lay(length: int, room: int, align: float) -> Span:
    """Lay a side of a picture into a room.

    Args:
        length: of the picture's side, in pixels. Of a longer one than the room a random part is
            shown.
        room: in pixels.
        align: place of a shorter one: 0 at the room's beginning, 1 at its end.
    """
    source = int(np.random.randint(max(length - room, 0) + 1))
    return Span(source, round(align * max(room - length, 0)), min(length, room))
