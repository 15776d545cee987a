"""Answers the requests of the page, by address: the page's files, lists as JSON, pictures.

What an address names are numbers of sets and pictures that were listed before, and never paths.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from importlib.resources import files
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from PIL import UnidentifiedImageError

from dyhead import __version__
from dyhead.pages import base_style
from dyhead.safe_io.json_text import strict_json
from dyhead.viewer.kinds import NO_ERRORS, describe_kinds
from dyhead.viewer.labels import lay_out
from dyhead.viewer.picture_set import PictureSet
from dyhead.viewer.selection import Query, describe_picture, select
from dyhead.viewer.thumbnails import SIDES, Thumbnails
from dyhead.visualization.colors import class_colors, css_color, text_color

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_JSON = "application/json; charset=utf-8"


class Answer(NamedTuple):
    """The content of an answer, and how long the browser may use it again."""

    content: bytes
    content_type: str
    may_be_kept: bool = False
    status: HTTPStatus = HTTPStatus.OK


class _UnknownError(LookupError):
    """An address that names nothing."""


class Answers:
    """Everything that the page may ask for.

    Args:
        title: of the page.
        sets: the data sets that it browses.
    """

    def __init__(self, title: str, sets: Sequence[PictureSet]) -> None:
        self._title = title
        self._sets = sets
        self._thumbnails = Thumbnails()
        # in the addresses of pictures, so that a browser never takes one of an earlier start
        self._token = secrets.token_urlsafe(8)
        self._files = _read_files()
        self._lists: dict[str, Callable[[Mapping[str, str]], object]] = {
            "/sets.json": self._describe_sets,
            "/pictures.json": self._select,
            "/picture.json": self._describe_picture,
        }

    def __call__(self, address: str) -> Answer:
        """Answer a GET request of this address, a path with a query."""
        try:
            parts = urlsplit(address)
            if parts.path in self._files:
                return self._files[parts.path]
            if parts.path in self._lists:
                values = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=20))
                text = strict_json(self._lists[parts.path](values))
                return Answer(text.encode("utf-8", "replace"), _JSON)
            return self._picture(parts.path)
        except _UnknownError:
            return _refusal(HTTPStatus.NOT_FOUND, "There is nothing at this address.")
        except OSError as error:
            return _refusal(HTTPStatus.NOT_FOUND, f"The picture cannot be shown: {_why(error)}.")
        except ValueError as error:
            return _refusal(HTTPStatus.BAD_REQUEST, f"This address is malformed: {error}.")

    def _describe_sets(self, values: Mapping[str, str]) -> object:
        return {
            "title": self._title,
            "version": __version__,
            "token": self._token,
            "sides": SIDES,
            "kinds": describe_kinds(),
            "no_errors": NO_ERRORS,
            "sets": [_describe_set(each) for each in self._sets],
        }

    def _select(self, values: Mapping[str, str]) -> object:
        return select(self._set(values.get("set", "0")), Query.parse(values))

    def _describe_picture(self, values: Mapping[str, str]) -> object:
        pictures = self._set(values.get("set", "0"))
        place = _index(values.get("picture", ""), len(pictures.pictures))
        described = describe_picture(pictures, place, Query.parse(values))
        width = int(values.get("width", 0))
        if not 0 <= width <= max(SIDES):
            raise ValueError("there is no such width")
        labels = lay_out(described, pictures.class_names, width) if width else None
        return {**described, "labels": labels}

    def _picture(self, path: str) -> Answer:
        words = path.split("/")
        if len(words) != 6 or words[1] != "picture" or words[2] != self._token:
            raise _UnknownError
        pictures = self._set(words[3])
        place = _index(words[4], len(pictures.pictures))
        side = SIDES[_index(words[5], len(SIDES))]
        return Answer(self._thumbnails.get(pictures, place, side), "image/jpeg", may_be_kept=True)

    def _set(self, text: str) -> PictureSet:
        return self._sets[_index(text, len(self._sets))]


def _read_files() -> dict[str, Answer]:
    """Read the page's own files, by address; no other file is ever named by a request."""
    found = {}
    for file in files(__package__).joinpath("page").iterdir():
        ending = file.name[file.name.rfind(".") :]
        if ending in _TYPES:
            found[f"/{file.name}"] = Answer(file.read_bytes(), _TYPES[ending])
    found["/base.css"] = Answer(base_style().encode(), _TYPES[".css"])
    return {**found, "/": found["/index.html"]}


def _describe_set(pictures: PictureSet) -> dict[str, object]:
    colors = class_colors(len(pictures.class_names))
    return {
        "name": pictures.name,
        "pictures": len(pictures.pictures),
        "objects": len(pictures.truth.boxes),
        "predictions": len(pictures.found.boxes) if pictures.has_predictions else None,
        "results_folder": pictures.results_folder,
        "left_out": pictures.left_out,
        "classes": [
            {"name": name, "color": css_color(color), "text": css_color(text_color(color))}
            for name, color in zip(pictures.class_names, colors, strict=True)
        ],
    }


def _index(text: str, length: int) -> int:
    """Read a place in a list of a given length.

    Raises:
        _UnknownError: it is none.
    """
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and int(text) < length):
        raise _UnknownError
    return int(text)


def _why(error: OSError) -> str:
    if isinstance(error, UnidentifiedImageError):  # its message is about a Python object
        return "the file holds no picture of a known format"
    return error.strerror or " ".join(str(error).split()) or type(error).__name__


def _refusal(status: HTTPStatus, sentence: str) -> Answer:
    return Answer(sentence.encode("utf-8", "replace"), "text/plain; charset=utf-8", False, status)
