"""Opening local files and addresses alike."""

import os
from typing import Any
from urllib.parse import urlparse

from iopath.common.file_io import HTTPURLHandler, PathHandler, get_cache_dir
from iopath.common.file_io import PathManager as _PathManager

__all__ = ["PathHandler", "PathManager"]

MODEL_ZOO_PREFIX = "detectron2://"
MODEL_ZOO_ADDRESS = "https://dl.fbaipublicfiles.com/detectron2/"


class DownloadHandler(HTTPURLHandler):
    """Fetches http(s) addresses into the cache, once; says what to do where that fails."""

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        try:
            return super()._get_local_path(path, force=force, **kwargs)
        except OSError as error:
            raise FileNotFoundError(
                f"{path} cannot be downloaded ({error}): fetch it on a machine with network access"
                f" and put it at {cached_path(path)}, or give the path of a local copy."
            ) from error


class ModelZooHandler(PathHandler):
    """Serves detectron2://... from the address of Detectron2's model zoo."""

    def _get_supported_prefixes(self) -> list[str]:
        return [MODEL_ZOO_PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        address = MODEL_ZOO_ADDRESS + path.removeprefix(MODEL_ZOO_PREFIX)
        return PathManager.get_local_path(address, force=force, **kwargs)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> Any:
        return open(self._get_local_path(path), mode, buffering=buffering, **kwargs)


def cached_path(address: str) -> str:
    """Return where the download of an http(s) address is kept ($FVCORE_CACHE moves the folder)."""
    folder = os.path.dirname(urlparse(address).path.lstrip("/"))
    return os.path.join(get_cache_dir(), folder, address.split("/")[-1])


PathManager = _PathManager()
PathManager.register_handler(DownloadHandler())
PathManager.register_handler(ModelZooHandler())
