"""Reads what every config key means from the comments beside the assignments that make the keys.

The source of the project's keys is `dyhead/config/*_keys.py`, that of Detectron2's the embedded
host's defaults. A key's description is the comment directly above its assignment, the one behind
it, or both. The sources are parsed, not imported, so they serve on either host.
"""

import ast
import functools
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_HOST = _PACKAGE / "d2" / "config" / "defaults.py"
_ROOTS = ("cfg", "DEFAULTS")  # names of the whole tree in the sources


@functools.cache
def key_descriptions() -> dict[str, str]:
    """Descriptions of keys and groups by dotted name; a key without a comment is left out."""
    found: dict[str, str] = {}
    for path in (_HOST, *sorted(Path(__file__).parent.glob("*keys.py"))):
        found |= parse_descriptions(path.read_text(encoding="utf-8"))
    return found


def parse_descriptions(source: str) -> dict[str, str]:
    """Descriptions of the keys that one source assigns, from its comments."""
    comments = dict(_comments(source))
    groups = dict.fromkeys(_ROOTS, "")
    found = {}
    for statement in _assignments(ast.parse(source)):
        keys = [key for target in statement.targets if (key := _dotted(target, groups))]
        for target in statement.targets:
            if isinstance(target, ast.Name) and keys:
                groups[target.id] = keys[0]
        if keys and (description := _describe(statement, comments)):
            found[keys[0]] = description
    return found


def _comments(source: str) -> Iterator[tuple[int, tuple[str, bool]]]:
    """Every comment's line, its text and whether it has the line for itself."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            is_alone = token.line[: token.start[1]].isspace() or token.start[1] == 0
            yield token.start[0], (token.string.lstrip("#").strip(), is_alone)


def _assignments(tree: ast.Module) -> Iterator[ast.Assign]:
    assignments = (node for node in ast.walk(tree) if isinstance(node, ast.Assign))
    yield from sorted(assignments, key=lambda node: node.lineno)


def _dotted(target: ast.expr, groups: dict[str, str]) -> str:
    """The key behind an expression such as cfg.MODEL.DEVICE, or ""."""
    parts: list[str] = []
    while isinstance(target, ast.Attribute):
        parts.insert(0, target.attr)
        target = target.value
    if not parts or not isinstance(target, ast.Name) or target.id not in groups:
        return ""
    return ".".join([groups[target.id], *parts]).lstrip(".")


def _describe(statement: ast.Assign, comments: dict[int, tuple[str, bool]]) -> str:
    above: list[str] = []
    line = statement.lineno - 1
    while line in comments and comments[line][1]:
        above.insert(0, comments[line][0])
        line -= 1
    behind = comments.get(statement.end_lineno or statement.lineno, ("", False))[0]
    text = " ".join(part for part in (*above, behind) if part)
    return _as_sentence(text)


def _as_sentence(text: str) -> str:
    if not text or text.startswith("---"):  # a rule that heads a part of the file
        return ""
    ending = "" if text.endswith((".", "...")) else "."
    return f"{text[0].upper()}{text[1:]}{ending}"
