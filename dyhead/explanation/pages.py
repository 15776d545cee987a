"""Writes explanations of many pictures as pages of some pictures each, with a json beside each."""

from pathlib import Path

from dyhead.explanation.explained import DEFINITIONS
from dyhead.explanation.page import ShownPicture, format_page
from dyhead.safe_io.json_text import write_json
from dyhead.safe_io.save import write_text_atomically

PAGE_NAME, JSON_NAME = "explanations.html", "explanations.json"
# A detection with six blocks takes some 40 kB: so browsers stay fluid, and memory bounded.
PICTURES_OF_A_PAGE = 20


class PageWriter:
    """Writes a page whenever it is full: explanations.html, explanations-2.html and so on."""

    def __init__(self, output: Path, source: str) -> None:
        """Take the folder, and what the detector was loaded from."""
        self.output, self.source = output, source
        self.written: list[Path] = []  # pages
        self._pictures: list[ShownPicture] = []

    def add(self, picture: ShownPicture) -> None:
        """Put a picture on the page, or on the next one where this one is full."""
        if len(self._pictures) == PICTURES_OF_A_PAGE:
            self._write(is_last=False)
        self._pictures.append(picture)

    def close(self) -> None:
        """Write the last page."""
        if self._pictures:
            self._write(is_last=True)

    def _write(self, is_last: bool) -> None:
        number = len(self.written) + 1
        before = _numbered(PAGE_NAME, number - 1) if number > 1 else ""
        after = "" if is_last else _numbered(PAGE_NAME, number + 1)
        path = self.output / _numbered(PAGE_NAME, number)
        page = format_page(self._pictures, self.source, number, before, after)
        write_text_atomically(page, path)
        content = {
            "detector": self.source,
            "definitions": DEFINITIONS,
            "pictures": [picture.values for picture in self._pictures],
        }
        write_json(content, self.output / _numbered(JSON_NAME, number))
        self.written.append(path)
        self._pictures = []


def _numbered(name: str, number: int) -> str:
    """Return the name of a page's file; the first one's is plain."""
    path = Path(name)
    return name if number == 1 else f"{path.stem}-{number}{path.suffix}"
