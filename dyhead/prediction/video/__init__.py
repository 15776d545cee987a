"""Videos and cameras, frame by frame, through PyAV or OpenCV: whichever is installed."""

from dyhead.prediction.video.reading import VideoReader, open_camera, open_video
from dyhead.prediction.video.writing import VideoFile

__all__ = ["VideoFile", "VideoReader", "open_camera", "open_video"]
