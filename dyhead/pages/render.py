"""Renders a package's page.html as one page that needs nothing beside itself."""

from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader


def render_page(package: str, **values: Any) -> str:
    """Render the template page.html of a package; it may extend "document.html".

    Text is escaped, and freed of what is no character to be seen.

    Args:
        package: name of the package that holds the template.
        values: for the template.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("dyhead.pages", ".")]),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    page = environment.get_template("page.html").render(**values)
    return "\n".join(line for line in page.split("\n") if line.strip()) + "\n"


def base_style() -> str:
    """Return the CSS that all pages begin with, for one that is served in parts."""
    return (files("dyhead.pages") / "base.css").read_text(encoding="utf-8")


def printable(text: str) -> str:
    """Replace what a terminal would obey or could not show: control characters, half characters."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
