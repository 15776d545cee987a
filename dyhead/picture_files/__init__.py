"""Picture files of any kind, read one way everywhere: 8 bits per channel, and upright.

Knows no host: the embedded one reads through it, and so does the project on genuine Detectron2.
"""

from dyhead.picture_files.header import Header, read_header
from dyhead.picture_files.opening import PictureError, allow_pixels, open_picture
from dyhead.picture_files.reading import read_rgb, read_upright, upright

__all__ = [
    "Header",
    "PictureError",
    "allow_pixels",
    "open_picture",
    "read_header",
    "read_rgb",
    "read_upright",
    "upright",
]
