"""Files by address: fetched once into a cache, with advice where there is no network."""

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlparse

from iopath.common.file_io import HTTPURLHandler, PathHandler, PathManager, get_cache_dir

MODEL_ZOO_PREFIX = "detectron2://"
MODEL_ZOO_ADDRESS = "https://dl.fbaipublicfiles.com/detectron2/"
HUB_PREFIX = "hf://"
HUB_ADDRESS = "https://huggingface.co/"


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


class AliasHandler(PathHandler):
    """Serves short addresses from the http(s) addresses they stand for."""

    def __init__(self, prefix: str, to_address: Callable[[str], str]) -> None:
        """Serve all that begins with `prefix` from `to_address(path)`."""
        super().__init__()
        self._prefix = prefix
        self._to_address = to_address

    def _get_supported_prefixes(self) -> list[str]:
        return [self._prefix]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return _paths.get_local_path(self._to_address(path), force=force, **kwargs)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> Any:
        return open(self._get_local_path(path), mode, buffering=buffering, **kwargs)


def zoo_address(path: str) -> str:
    """Where Detectron2's model zoo keeps detectron2://..."""
    return MODEL_ZOO_ADDRESS + path.removeprefix(MODEL_ZOO_PREFIX)


def hub_address(path: str) -> str:
    """Where the Hugging Face hub keeps hf://<owner>/<repository>/<file>, on its main branch.

    Raises:
        ValueError: the path has fewer than three parts.
    """
    parts = path.removeprefix(HUB_PREFIX).split("/", 2)
    if len(parts) < 3 or not all(parts):
        raise ValueError(f"{path} names no file: write hf://<owner>/<repository>/<file>.")
    owner, repository, file = parts
    return f"{HUB_ADDRESS}{owner}/{repository}/resolve/main/{file}"


def cached_path(address: str) -> str:
    """Return where the download of an http(s) address is kept ($FVCORE_CACHE moves the folder)."""
    folder = os.path.dirname(urlparse(address).path.lstrip("/"))
    return os.path.join(get_cache_dir(), folder, address.split("/")[-1])


def local_path(path: str) -> str:
    """The local file of a path or of an address (https://, detectron2://, hf://).

    Raises:
        FileNotFoundError: an address is not in the cache and cannot be fetched; the message says
            where to put the file.
        ValueError: the address is of no known kind.
    """
    prefix, found, _ = path.partition("://")
    if found and prefix not in ("http", "https", "detectron2", "hf", "file"):
        raise ValueError(
            f"{path} is an address of an unknown kind: use a path, https://, detectron2:// or"
            " hf://<owner>/<repository>/<file>."
        )
    return str(_paths.get_local_path(path))


def register_handlers(paths: PathManager) -> None:
    """Let `paths` open all the addresses above."""
    paths.register_handler(DownloadHandler())
    paths.register_handler(AliasHandler(MODEL_ZOO_PREFIX, zoo_address))
    paths.register_handler(AliasHandler(HUB_PREFIX, hub_address))


_paths = PathManager()
register_handlers(_paths)
