"""Writes pictures in the forms in which cameras and other programs store them."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

STORED = {  # EXIF's orientation -> how the stored pixels come from those that are shown
    1: lambda shown: shown,
    2: np.fliplr,
    3: lambda shown: np.rot90(shown, 2),
    4: np.flipud,
    5: lambda shown: shown.swapaxes(0, 1),
    6: lambda shown: np.rot90(shown, 1),
    7: lambda shown: np.rot90(shown.swapaxes(0, 1), 2),
    8: lambda shown: np.rot90(shown, -1),
}


def save_turned(shown: np.ndarray, orientation: int, path: Path, **options: object) -> Path:
    """Save a picture as a camera that was held in some orientation does."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](shown))
    Image.fromarray(stored).save(path, exif=exif, **options)
    return path


def write_deep_png(values: np.ndarray, path: Path, bits: int | None = None) -> Path:
    """Write a PNG file of 16 bits per channel, by the standard alone.

    Args:
        values: (H, W, C), C 1 to 4: grey, with opacity, RGB, with opacity.
        path: of the file.
        bits: the significant ones, as the chunk sBIT says them.
    """
    height, width, channels = values.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = values.astype(">u2").reshape(height, -1)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))]
    if bits is not None:
        chunks.append((b"sBIT", bytes([bits] * channels)))
    chunks.append((b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))))
    chunks.append((b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks))
    return path


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def write_deep_tiff(values: np.ndarray, path: Path, order: str = "<", orientation: int = 1) -> Path:
    """Write an uncompressed TIFF file of 16-bit RGB or CMYK, by the standard alone.

    Args:
        values: (H, W, C), as stored, C 3 for RGB, 4 for CMYK.
        path: of the file.
        order: "<" for the low byte first, ">" for the high byte.
        orientation: EXIF's number.
    """
    height, width, channels = values.shape
    pixels = values.astype(f"{order}u2").tobytes()
    bits_at = 8 + 2 + 11 * 12 + 4
    pixels_at = bits_at + 2 * channels
    short, long = 3, 4
    entries = [
        (256, long, 1, width),
        (257, long, 1, height),
        (258, short, channels, bits_at),
        (259, short, 1, 1),
        (262, short, 1, {3: 2, 4: 5}[channels]),
        (273, long, 1, pixels_at),
        (274, short, 1, orientation),
        (277, short, 1, channels),
        (278, long, 1, height),
        (279, long, 1, len(pixels)),
        (284, short, 1, 1),
    ]
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        field = f"{order}HHIHH" if kind == short and count == 1 else f"{order}HHII"
        padding = (0,) if kind == short and count == 1 else ()
        directory += struct.pack(field, tag, kind, count, value, *padding)
    directory += struct.pack(f"{order}I", 0) + struct.pack(f"{order}{channels}H", *[16] * channels)
    path.write_bytes(head + directory + pixels)
    return path
