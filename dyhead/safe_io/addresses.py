"""Files by address: installed, or fetched once into a cache; with advice where that fails."""

import hashlib
import os
import re
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

from iopath.common.download import download
from iopath.common.file_io import (
    HTTPURLHandler,
    PathHandler,
    PathManager,
    file_lock,
    get_cache_dir,
)

from dyhead.safe_io.library_weights import (
    TIMM_PREFIX,
    TORCHVISION_PREFIX,
    library_address,
    timm_address,
    torchvision_address,
)
from dyhead.safe_io.packaged_weights import PACKAGE_PREFIX, PACKAGES, packaged_file
from dyhead.safe_io.tag import TAG

MODEL_ZOO_PREFIX = "detectron2://"
MODEL_ZOO_ADDRESS = "https://dl.fbaipublicfiles.com/detectron2/"
HUB_PREFIX = "hf://"
HUB_ADDRESS = "https://huggingface.co/"
_KINDS = ("http", "https", "detectron2", "hf", "timm", "torchvision", "pip", "file")
# Servers behind the short addresses: their files lie in the cache without a folder of the server's.
# None of them lets its users choose a path that another one of them has.
_OWN_SERVERS = (
    "https+dl.fbaipublicfiles.com",
    "https+huggingface.co",
    "https+download.pytorch.org",
)
_MAX_NAME = 250  # characters of a file name
_MAX_FETCHED = 2**28  # bytes of what is fetched without being kept
_TIMEOUT = 30.0  # seconds that a server may be silent


class DownloadHandler(HTTPURLHandler):
    """Fetches http(s) addresses into the cache, once; says what to do where that fails."""

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        self._check_kwargs(kwargs)
        file = cached_path(path)
        folder, name = os.path.split(file)
        try:
            with file_lock(file):
                if not os.path.isfile(file):
                    download(path, folder, filename=name)
        except (OSError, HTTPException) as error:
            raise FileNotFoundError(
                f"{path} cannot be downloaded ({error}): fetch it on a machine with network access"
                f" and put it at {file}, or give the path of a local copy."
            ) from error
        return file


class AliasHandler(PathHandler):
    """Serves short addresses from the other addresses, or the local files, they stand for."""

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
    """Return the web address of detectron2://..., a file of Detectron2's model zoo."""
    return MODEL_ZOO_ADDRESS + path.removeprefix(MODEL_ZOO_PREFIX)


def hub_address(path: str) -> str:
    """Return the web address of hf://<owner>/<repository>/<file> on its main branch.

    Raises:
        ValueError: the path has fewer than three parts.
    """
    parts = path.removeprefix(HUB_PREFIX).split("/", 2)
    if len(parts) < 3 or not all(parts):
        raise ValueError(f"{path} names no file: write hf://<owner>/<repository>/<file>.")
    owner, repository, file = parts
    return f"{HUB_ADDRESS}{owner}/{repository}/resolve/main/{file}"


def timm_web_address(name: str) -> str:
    """Return the web address of the weights of timm's <model> or <model>.<tag>.

    Raises:
        ValueError: timm has no such weights; the message has the nearest names.
    """
    address = timm_address(TIMM_PREFIX + name)
    return hub_address(address) if address.startswith(HUB_PREFIX) else address


def cached_path(address: str) -> str:
    """Return where the download of an http(s) address is kept ($FVCORE_CACHE moves the folder).

    Each server has a folder, such as https+example.org, so that none provides another one's files.

    Raises:
        ValueError: it names no file, or its path has what could leave that folder: a part "..", a
            colon or a backslash.
    """
    parts = urlsplit(address)
    server = f"{parts.scheme}+{parts.netloc.rpartition('@')[2]}"  # without a password
    folder, name = os.path.split(parts.path.lstrip("/"))
    name += f"?{quote(parts.query, safe='=&')}" if parts.query else ""
    # Windows takes a drive's name or a backslash for the beginning of another path.
    leads_away = ".." in unquote(parts.path).split("/") or re.search(r"[:\\]", parts.path)
    if not name or leads_away:
        raise ValueError(
            f'{address} names no file: give the whole address, without ":", "\\" or a part ".."'
            " in its path."
        )
    if len(name) > _MAX_NAME:
        name = f"{name[:100]}_{hashlib.sha256(name.encode()).hexdigest()}"
    own = "" if server in _OWN_SERVERS else quote(server, safe="+")
    return os.path.join(get_cache_dir(), own, folder, name)


def full_address(path: str) -> str:
    """Return a path or an address as it is, but of the bare name of a model its address.

    A name is bare where there is no such file, nor such a run's folder, and timm or torchvision has
    such a model: "resnet50" is timm://resnet50, and so is "timm/resnet50".
    """
    is_own = os.path.isfile(path) or os.path.isfile(os.path.join(path, TAG))
    return path if not path or is_own else library_address(path)


def local_path(path: str) -> str:
    """Return the local file of a path, an address or the bare name of a model.

    Addresses are https://, detectron2://, hf://, timm://, torchvision:// and pip://; see
    docs/weights.md.

    Raises:
        FileNotFoundError: an address is not in the cache and cannot be fetched; the message says
            where to put the file. Or the package of pip:// is not installed.
        ValueError: the address is of no known kind, or nothing has the name that it names. Or it is
            the name alone of what a package carries.
    """
    if path in PACKAGES and not os.path.isfile(path):
        raise ValueError(f"There is no file {path}, did you mean {PACKAGE_PREFIX}{path}?")
    prefix, found, _ = path.partition("://")
    if found and prefix not in _KINDS:
        raise ValueError(
            f"{path} is an address of an unknown kind: use a path, https://, detectron2://,"
            " hf://<owner>/<repository>/<file>, timm://<model>, torchvision://<model> or"
            " pip://<name>."
        )
    return str(_paths.get_local_path(full_address(path)))


def is_web_address(text: str) -> bool:
    """True for http(s) addresses."""
    return text.startswith(("http://", "https://"))


def fetch(address: str, max_bytes: int = _MAX_FETCHED, timeout: float = _TIMEOUT) -> bytes:
    """Fetch what an http(s) address holds now; nothing is kept.

    Args:
        address: begins with http:// or https://.
        max_bytes: what is larger is refused.
        timeout: seconds that the server may be silent.

    Raises:
        OSError: it cannot be fetched; the message says why.
        ValueError: it is no http(s) address, or too large.
    """
    if not is_web_address(address):
        raise ValueError(f"{address} is no address of the web: it begins with https://.")
    request = Request(address, headers={"User-Agent": "dyhead"})  # some servers ask for one
    try:
        with urlopen(request, timeout=timeout) as response:
            content: bytes = response.read(max_bytes + 1)
            if response.length and len(content) <= max_bytes:
                raise OSError(f"the connection ended {response.length} bytes early")
    except (OSError, ValueError, HTTPException) as error:
        raise OSError(f"{address} cannot be fetched ({error}): check the address.") from error
    if len(content) > max_bytes:
        raise ValueError(
            f"{address} is larger than {max_bytes / 2**20:g} MiB: download it, and give the path."
        )
    return content


def register_handlers(paths: PathManager) -> None:
    """Let `paths` open all the addresses above."""
    paths.register_handler(DownloadHandler())
    paths.register_handler(AliasHandler(MODEL_ZOO_PREFIX, zoo_address))
    paths.register_handler(AliasHandler(HUB_PREFIX, hub_address))
    paths.register_handler(AliasHandler(TIMM_PREFIX, timm_address))
    paths.register_handler(AliasHandler(TORCHVISION_PREFIX, torchvision_address))
    paths.register_handler(AliasHandler(PACKAGE_PREFIX, packaged_file))


_paths = PathManager()
register_handlers(_paths)
