"""Reads the frames of videos and cameras."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from dyhead.errors import UserError
from dyhead.prediction.video.packages import INSTALL, find_package, need_package

_USUAL_RATE = 25.0  # frames per second, where a file does not tell its own


class VideoReader(Protocol):
    """An open video or camera; iterate over it once, then close it.

    Attributes:
        rate: frames per second.
        num_frames: about how many there are; None where unknown.
    """

    rate: float
    num_frames: int | None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield frames (H, W, 3), uint8, BGR, upright.

        Raises:
            UserError: the rest cannot be decoded.
        """
        ...

    def close(self) -> None:
        """Free the file or the camera."""
        ...


def open_video(path: str) -> VideoReader:
    """Open a video file.

    Raises:
        UserError: it is no video, or neither PyAV nor OpenCV is installed.
    """
    package = need_package(f"Reading the video {path}")
    if not Path(path).is_file():
        raise UserError(f"{path} does not exist: check the path.")
    file = os.path.abspath(path)  # FFmpeg takes what stands before a colon for a protocol
    return _AvReader(package, file) if package.__name__ == "av" else _CvReader(package, file)


def camera_number(text: str) -> int | None:
    """Read the number of a camera from "0" or "/dev/video0"; None for anything else."""
    found = re.fullmatch(r"(?:/dev/video)?(\d{1,4})", text)
    return int(found[1]) if found else None


def open_camera(text: str) -> VideoReader:
    """Open a camera, given as its number or as /dev/videoN.

    Raises:
        UserError: there is none, or no package that can open it is installed.
    """
    number = camera_number(text)
    if number is None:
        raise UserError(f"{text} is no camera: give its number, or /dev/video0.")
    if (cv2 := find_package("cv2")) is not None:
        return _CvReader(cv2, number)
    av = find_package("av")
    if av is not None and sys.platform == "linux":
        return _AvReader(av, f"/dev/video{number}", format="v4l2")
    advice = INSTALL if sys.platform == "linux" else "pip install opencv-python"
    raise UserError(f"Reading the camera {number} needs OpenCV: {advice}.")


class _AvReader:
    """A reader by PyAV that applies the rotation which phones store beside the frames."""

    def __init__(self, av: ModuleType, path: str, **options: Any) -> None:
        self._path = path
        self._error: type[Exception] = av.error.FFmpegError
        try:
            self._container = av.open(path, **options)
        except (self._error, OSError, ValueError) as error:
            raise UserError(f"{path} can't be read as a video ({error}).") from error
        if not self._container.streams.video:
            self._container.close()
            raise UserError(f"{path} holds no video.")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.rate = float(self._stream.average_rate or _USUAL_RATE)
        self.num_frames: int | None = self._stream.frames or None

    def __iter__(self) -> Iterator[np.ndarray]:
        count = 0
        try:
            for frame in self._container.decode(self._stream):
                count += 1
                pixels = frame.to_ndarray(format="bgr24")
                # how far to turn it counterclockwise, in degrees
                yield np.rot90(pixels, frame.rotation // 90) if frame.rotation else pixels
        except self._error as error:
            raise UserError(_stopped(self._path, count, str(error))) from error
        if not count:
            raise UserError(f"{self._path} holds no frame that can be decoded.")

    def close(self) -> None:
        self._container.close()


class _CvReader:
    """A reader by OpenCV, which turns frames upright itself."""

    def __init__(self, cv2: ModuleType, source: str | int) -> None:
        self._name = f"camera {source}" if isinstance(source, int) else source
        self._capture = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            self._capture.release()
            raise UserError(f"{self._name} can't be read as a video.")
        self.rate = float(self._capture.get(cv2.CAP_PROP_FPS) or _USUAL_RATE)
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = count if count > 0 else None

    def __iter__(self) -> Iterator[np.ndarray]:
        is_read, frame = self._capture.read()
        if not is_read:
            raise UserError(f"{self._name} holds no frame that can be decoded.")
        while is_read:
            yield frame
            is_read, frame = self._capture.read()

    def close(self) -> None:
        self._capture.release()


def _stopped(name: str, frames: int, reason: str) -> str:
    return f"{name} can't be read further than its first {frames} frames ({reason})."
