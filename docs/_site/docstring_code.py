"""Shows indented examples of docstrings as code, which reStructuredText takes for quotations."""

from sphinx.application import Sphinx

_INDENT = " " * 4


def mark_code(lines: list[str]) -> list[str]:
    """Return a docstring's lines with a directive before each indented block after plain text.

    Entries of a section follow its name without an empty line, and are left alone.
    """
    marked: list[str] = []
    for line in lines:
        before = next((each for each in reversed(marked) if each), _INDENT)
        if line.startswith(_INDENT) and marked[-1:] == [""] and not before.startswith(" "):
            marked += [".. code-block:: python", ""]
        marked.append(line)
    return marked


def setup(app: Sphinx) -> dict[str, bool]:
    """Look at every docstring before its sections are."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True}


def _process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list) -> None:
    lines[:] = mark_code(lines)
