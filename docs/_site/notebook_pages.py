"""Makes pages of notebooks: their text, and their code as it stands."""

import json
from typing import Any

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx


class NotebookParser(MystParser):
    """A parser of notebooks, whose outputs are left out."""

    supported = ("ipynb",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Parse a notebook's cells as Markdown."""
        super().parse(as_markdown(inputstring), document)


def as_markdown(notebook: str) -> str:
    """Return the cells of a notebook (its JSON text) as one Markdown text."""
    return "\n\n".join(_cell(cell) for cell in json.loads(notebook)["cells"])


def _cell(cell: dict[str, Any]) -> str:
    source = "".join(cell["source"])
    return source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the parser with Sphinx."""
    app.add_source_suffix(".ipynb", "ipynb")
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": True}
