"""The host's `utils.file_io`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.utils.file_io import PathManager
else:
    from dyhead.d2._embedded.utils.file_io import PathManager

__all__ = [
    "PathManager",
]
