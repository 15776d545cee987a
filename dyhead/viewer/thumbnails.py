"""Makes small copies of pictures when they are asked for, and keeps the latest in memory."""

import io
import os
import threading
from collections import OrderedDict
from pathlib import Path

from PIL import Image

from dyhead.picture_files import PictureError, read_upright
from dyhead.viewer.picture_set import PictureSet

SIDES = (240, 480, 960, 1920, 3840)  # longer sides in pixels: few, so that copies serve again
_QUALITY = 85
_MAX_BYTES = 128 * 2**20  # of copies that are kept
_DECODERS = 2  # at a time: large pictures take much memory


class Thumbnails:
    """JPEG copies of the pictures of sets; used by several threads at once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Path, int], bytes] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()
        self._decoders = threading.Semaphore(_DECODERS)

    def get(self, pictures: PictureSet, place: int, side: int) -> bytes:
        """Return a picture as a JPEG whose longer side has at most `side` pixels.

        Raises:
            OSError: it is missing, damaged, or lies outside the image folder; the message says so.
        """
        path = picture_path(pictures, place)
        key = (path, side)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._decoders:
            data = _make(path, side)
        self._keep(key, data)
        return data

    def _keep(self, key: tuple[Path, int], data: bytes) -> None:
        with self._lock:
            self._num_bytes += len(data) - len(self._kept.pop(key, b""))
            self._kept[key] = data
            while self._num_bytes > _MAX_BYTES and len(self._kept) > 1:
                self._num_bytes -= len(self._kept.popitem(last=False)[1])


def picture_path(pictures: PictureSet, place: int) -> Path:
    """Return the real path of a picture, all links followed.

    Raises:
        PictureError: it leads out of the image folder, and may not.
    """
    root = os.path.realpath(pictures.image_root)
    path = Path(os.path.realpath(os.path.join(root, pictures.pictures[place].name)))
    if not pictures.may_leave and not path.is_relative_to(root):
        raise PictureError("it is a link out of the image folder: --follow-links shows it")
    return path


def _make(path: Path, side: int) -> bytes:
    picture = read_upright(path).convert("RGB")
    picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=_QUALITY)
    return file.getvalue()
