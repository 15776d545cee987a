"""Writes frames into a video file."""

import os
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from PIL import Image

from dyhead.errors import UserError, user_errors
from dyhead.prediction.video.packages import need_package

_MAX_DENOMINATOR = 1001  # that of 30000/1001 frames per second


class VideoFile:
    """A new MP4 file, which appears under its name when it is complete.

    Close it after an error too: what was written until then can be seen. Sound is not kept.

    Args:
        path: ends in .mp4; its folder is made if need be.
        rate: frames per second.

    Raises:
        UserError: neither PyAV nor OpenCV is installed, or the file cannot be written.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path = path
        self._rate = rate
        self._package = need_package(f"Writing the video {path}")
        self._unfinished = path.with_name(f".{path.stem}.unfinished.mp4")
        self._writer: _Writer | None = None
        self._size = (0, 0)
        with user_errors(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, image: Image.Image) -> None:
        """Add one frame; the first one tells the size of all."""
        if self._writer is None:
            self._size = (image.width + image.width % 2, image.height + image.height % 2)
            open_writer = _AvWriter if self._package.__name__ == "av" else _CvWriter
            self._writer = open_writer(self._package, self._unfinished, self._rate, self._size)
        self._writer.write(_as_frame(image, self._size))

    def close(self) -> None:
        """Finish the file; without any frame there is none."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            os.replace(self._unfinished, self.path)


def _as_frame(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Resize and pad to RGB pixels of (width, height), even numbers as the usual codecs need."""
    width, height = size
    if image.width not in (width, width - 1) or image.height not in (height, height - 1):
        image = image.resize(size)
    pixels = np.asarray(image.convert("RGB"))
    missing = ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0))
    return np.pad(pixels, missing, mode="edge")


class _Writer(Protocol):
    def write(self, frame: np.ndarray) -> None: ...

    def close(self) -> None: ...


class _AvWriter:
    """A writer by PyAV: H.264 where it was built with it, else MPEG-4."""

    def __init__(self, av: ModuleType, path: Path, rate: float, size: tuple[int, int]) -> None:
        self._av = av
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        with user_errors(str(path)):
            self._container = av.open(os.path.abspath(path), "w")
        exact = Fraction(rate).limit_denominator(_MAX_DENOMINATOR)
        self._stream = self._container.add_stream(codec, rate=exact)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"

    def write(self, frame: np.ndarray) -> None:
        image = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        self._container.mux(self._stream.encode(image))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


class _CvWriter:
    """A writer by OpenCV: MPEG-4, which every build has."""

    def __init__(self, cv2: ModuleType, path: Path, rate: float, size: tuple[int, int]) -> None:
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(os.path.abspath(path), codec, rate, size)
        if not self._writer.isOpened():
            raise UserError(f"{path} can't be written by OpenCV.")

    def write(self, frame: np.ndarray) -> None:
        self._writer.write(np.ascontiguousarray(frame[:, :, ::-1]))

    def close(self) -> None:
        self._writer.release()
