"""Reads XML of labelling tools, with line numbers, and without anything that the XML could load."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from xml.parsers import expat

from dyhead.data.sources.text_files import read_bytes
from dyhead.errors import UserError


class Element(ET.Element):
    """An element that knows the line it begins at."""

    line = 0

    def child_or_empty(self, name: str) -> "Element":
        """Return the first child of that name, or an element without content."""
        found = self.find(name)
        return found if isinstance(found, Element) else Element(name)

    def children(self, name: str) -> list["Element"]:
        """List the children of that name."""
        return [each for each in self.findall(name) if isinstance(each, Element)]

    def text_of(self, name: str) -> str:
        """Return the text of the first child of that name; "" where there is none."""
        return (self.findtext(name) or "").strip()


def read_xml(path: Path) -> Element:
    """Read a file and return its root.

    A document type is refused: it could name other files, or grow without end.

    Raises:
        UserError: the file can't be read or is no well-formed XML; the error names the line.
    """
    builder = ET.TreeBuilder(element_factory=Element)
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(tag: str, attributes: dict[str, str]) -> None:
        element: Any = builder.start(tag, attributes)
        element.line = parser.CurrentLineNumber

    def refuse(*_: object) -> None:
        raise UserError(f"{path} has a document type (DOCTYPE), which is not read: take it out.")

    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(read_bytes(path), True)
    except UserError:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:  # an encoding may be unknown
        raise UserError(f"{path} is no well-formed XML ({error}): export it anew.") from error
    root = builder.close()
    assert isinstance(root, Element)
    return root


def root_tag(path: Path) -> str:
    """Return the name of a file's root element; "" where it has none."""
    if not path.is_file():
        return ""
    found: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, _: found.append(tag)
    try:
        with open(path, "rb") as file:
            while not found and (block := file.read(4096)):
                parser.Parse(block)
    except (OSError, expat.ExpatError, LookupError, ValueError):
        return found[0] if found else ""
    return found[0] if found else ""
