"""Finds the sources that a command line names, and chooses a file for the drawing of each."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlparse

from PIL import Image

from dyhead.data.image_files import IMAGE_ENDINGS, files_below
from dyhead.errors import UserError
from dyhead.prediction.video.reading import camera_number
from dyhead.safe_io.addresses import is_web_address

VIDEO_ENDINGS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
_ENDINGS = (*IMAGE_ENDINGS, *VIDEO_ENDINGS)
JSON_NAME = "predictions.json"
CSV_NAME = "predictions.csv"


class Kind(Enum):
    """The kinds of sources."""

    PICTURE = "picture"
    VIDEO = "video"
    CAMERA = "camera"


@dataclass(frozen=True)
class Source:
    """A picture, video or camera to detect objects in."""

    kind: Kind
    location: str  # a path, an address, or a camera
    name: PurePosixPath  # of what is drawn: the path within the folder that was named


def find_sources(texts: Sequence[str], output: Path) -> list[Source]:
    """Find what each text names, in the order of the texts; files of a folder are sorted.

    Args:
        texts: paths of pictures and videos, of folders (searched with all their subfolders),
            patterns with * ? [ ] and **, http(s) addresses, and cameras (0 or /dev/video0). A file
            that is named twice is found once.
        output: the folder for what is drawn; nothing in it is a source.

    Raises:
        UserError: a text names nothing, or what lies in the output folder.
    """
    found: dict[str, Source] = {}
    for text in texts:
        sources = list(_find(text, output))
        if not sources:
            raise UserError(
                f"{text} holds no picture and no video ({', '.join(_ENDINGS)}): check the path."
            )
        for source in sources:
            found.setdefault(_identity(source), source)
    return list(found.values())


def _find(text: str, output: Path) -> Iterator[Source]:
    path = Path(os.path.expanduser(text))
    if is_web_address(text):
        yield _of_address(text)
    elif path.exists() and _is_below(path, output):
        raise UserError(
            f"{text} is in the folder of --output {output}, where drawings take the names of"
            " pictures: choose another --output."
        )
    elif path.is_dir():
        yield from _of_folder(path, output)
    elif path.is_file():
        yield _of_file(path, PurePosixPath(path.name))
    elif (number := camera_number(text)) is not None:
        yield Source(Kind.CAMERA, text, PurePosixPath(f"camera{number}"))
    elif glob.has_magic(text):
        yield from _of_pattern(str(path), output)
    else:
        raise UserError(f"{text} does not exist: check the path.")


def _of_address(address: str) -> Source:
    name = unquote(urlparse(address).path).rpartition("/")[2]
    name = re.sub(r"[^\w.-]+", "_", name).lstrip(".") or "picture"
    return _of_file(address, PurePosixPath(name))


def _of_folder(folder: Path, output: Path) -> Iterator[Source]:
    for path in files_below(folder, _ENDINGS):
        if not _is_below(path, output):
            yield _of_file(path, PurePosixPath(path.relative_to(folder).as_posix()))


def _of_pattern(pattern: str, output: Path) -> Iterator[Source]:
    root = _part_without_magic(pattern)
    for match in sorted(glob.glob(pattern, recursive=True)):
        path = Path(match)
        if path.is_file() and path.suffix.lower() in _ENDINGS and not _is_below(path, output):
            yield _of_file(path, PurePosixPath(path.relative_to(root).as_posix()))


def _part_without_magic(pattern: str) -> Path:
    """Return the folder that a pattern's matches have in common by their names."""
    parts = Path(pattern).parts
    plain = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:plain])


def _of_file(location: Path | str, name: PurePosixPath) -> Source:
    kind = Kind.VIDEO if name.suffix.lower() in VIDEO_ENDINGS else Kind.PICTURE
    return Source(kind, str(location), name)


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _identity(source: Source) -> str:
    """Return a key that is equal for equal files, however they are named."""
    if source.kind is Kind.CAMERA or is_web_address(source.location):
        return source.location
    return os.path.realpath(source.location)


def choose_targets(sources: Sequence[Source], output: Path) -> list[Path]:
    """Choose a file below `output` for each source, as its path within the folder that was named.

    Pictures of formats that cannot be written become PNG, videos MP4. Where a name is taken, by
    another source's drawing or by a source itself, a number is added.
    """
    taken = {_key(output / name) for name in (JSON_NAME, CSV_NAME)}
    taken |= {_key(Path(source.location)) for source in sources}
    targets = []
    for source in sources:
        wanted = output / source.name.with_name(_file_name(source))
        target, number = wanted, 2
        while _key(target) in taken:
            target = wanted.with_stem(f"{wanted.stem}-{number}")
            number += 1
        taken.add(_key(target))
        targets.append(target)
    return targets


def _file_name(source: Source) -> str:
    if source.kind is not Kind.PICTURE:
        return f"{source.name.stem}.mp4"
    file_format = Image.registered_extensions().get(source.name.suffix.lower())
    is_single = file_format in Image.SAVE and file_format not in ("GIF", "PDF")
    return source.name.name if is_single else f"{source.name.stem}.png"


def _key(path: Path) -> str:
    """Return a key that is equal for equal files, on case-insensitive systems too."""
    return str(path.resolve()).casefold()
