"""Opening local files and addresses alike."""

from iopath.common.file_io import PathHandler
from iopath.common.file_io import PathManager as _PathManager

from dyhead.safe_io.addresses import register_handlers

__all__ = ["PathHandler", "PathManager"]

PathManager = _PathManager()
register_handlers(PathManager)
