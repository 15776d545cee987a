"""Every message that docs/troubleshooting.md quotes is one of the program's."""

import ast
import re

import pytest
from documents import PROJECT

PAGE = PROJECT / "docs" / "troubleshooting.md"
GAP = "..."  # in the page: any name or number


def quoted_messages() -> list[str]:
    """The first cells of the tables of messages."""
    tables = re.findall(r"\| message .*?\n\n", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return re.findall(r"^\| `(.*?)` \|", "\n".join(tables), re.MULTILINE)


@pytest.fixture(scope="module")
def sentences() -> str:
    """The texts in the program's code, a line each, with GAP for what is filled in."""
    found = []
    for path in (PROJECT / "dyhead").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [getattr(part, "value", GAP) for part in node.values]
                found.append("".join(part if isinstance(part, str) else GAP for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%[srd]", GAP, node.value))
    return "\n".join(text.replace("\n", " ") for text in found)


def is_among(message: str, sentences: str) -> bool:
    """True where one of the texts has the words of a message, in its order."""
    words = [re.escape(part) for part in message.split(GAP)]
    return re.search("[^\n]*".join(words), sentences) is not None


@pytest.mark.parametrize("message", quoted_messages())
def test_the_message_is_one_of_the_program_s(message, sentences):
    assert is_among(message, sentences)
    assert len(message.replace(GAP, "")) > 12  # so much is its own


def test_there_are_messages_and_a_changed_one_would_be_found(sentences):
    assert len(quoted_messages()) > 40
    assert is_among("No config: name one, for example", sentences)
    assert not is_among("No configuration: name one, for example", sentences)
