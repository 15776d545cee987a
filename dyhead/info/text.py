"""Formats the description of an installation as text."""

from collections.abc import Iterator, Mapping
from typing import Any

_TITLES = {
    "host": "Detectron2's host",
    "folders": "Folders",
    "versions": "Versions",
    "devices": "Devices",
    "extension": "C++ extension",
    "deform_conv": "Back ends of the deformable convolution",
    "optional": "Optional parts",
    "environment": "Environment variables",
}


def format_info(info: Mapping[str, Any]) -> str:
    """Format the sections one after the other, with a title each."""
    sections = []
    for name, content in info.items():
        lines = list(_optional(content) if name == "optional" else _lines(content))
        sections.append("\n  ".join([_TITLES[name], *(lines or ["none set"])]))
    return "\n\n".join(sections)


def _lines(content: Any) -> Iterator[str]:
    """Yield names and values side by side; nested ones are indented."""
    plain = [name for name, value in content.items() if not isinstance(value, Mapping)]
    width = max((len(name) for name in plain), default=0)
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield name
            yield from (f"  {line}" for line in _lines(value))
        else:
            yield f"{name:{width}}  {value}"


def _optional(parts: Any) -> Iterator[str]:
    if isinstance(parts, Mapping):  # an error
        yield from _lines(parts)
        return
    width = max(len(part["package"]) for part in parts)
    purpose = max(len(part["purpose"]) for part in parts)
    for part in parts:
        state = part.get("version") or f"not installed: {part['install']}"
        yield f"{part['package']:{width}}  {part['purpose']:{purpose}}  {state}"
