"""The commands and the code of the documents, as their readers find them.

A fenced block may have comments right above it, which no reader sees:

    <!-- not run: why -->           its commands are parsed, and not executed
    <!-- tested by: tests/x.py -->  another test executes it
    <!-- given: python code -->     names that the reader is taken to have
    <!-- file: x.py -->             what the reader saves the block as, instead of running it
"""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PAGES = (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")))
NOTES = ("not run", "tested by", "given", "file")

_BLOCK = re.compile(
    r"(?P<notes>(?:^<!-- [^\n]* -->\n)*)^```(?P<language>\w*)\n(?P<source>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_NOTE = re.compile(rf"<!-- ({'|'.join(NOTES)}): (.*) -->")
_INLINE = re.compile(r"`((?:dyhead|python train_net\.py|torchrun|pip install|make) [^`\n]+)`")
_SEPARATORS = {";", "&&", "||", "|", "do", "done", "then", "else", "fi", "if", "{", "}"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `line` is that of its first line, counted from 1."""

    page: Path
    line: int
    language: str
    source: str
    notes: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Say where it stands."""
        return f"{self.page.relative_to(PROJECT)}, line {self.line}"


def blocks_of(page: Path, language: str = "") -> list[Block]:
    """Return the fenced blocks of a page, those of one language if it is named."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("source")) + 1
        notes = dict(_NOTE.findall(match["notes"]))
        found.append(Block(page, line, match["language"], match["source"], notes))
    return [block for block in found if language in ("", block.language)]


def block_with(page: Path, language: str, mark: str) -> str:
    """Return the source of the one block of a page, in `language`, that holds `mark`."""
    (source,) = [block.source for block in blocks_of(page, language) if mark in block.source]
    return source


def commands_of(source: str) -> list[list[str]]:
    """Return the simple commands of a shell's text, each as its words, without redirections."""
    commands: list[list[str]] = [[]]
    for line in source.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=";|&<>")
        words.whitespace_split = True
        redirected = False
        for word in words:
            if word in _SEPARATORS:
                commands.append([])
            elif word[0] in "<>":
                redirected = True
            elif redirected:
                redirected = False
            else:
                commands[-1].append(word)
        commands.append([])
    return [command for command in map(_without_variables, commands) if command]


def inline_commands_of(page: Path) -> list[list[str]]:
    """Return the whole commands in the running text and the tables of a page."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    text = text.replace("\\|", "|")
    lines = [re.sub(r"\s+", " ", found) for found in _INLINE.findall(text)]
    return [command for line in lines for command in commands_of(line)]


def _without_variables(words: list[str]) -> list[str]:
    while words and (re.match(r"\w+=", words[0]) or words[0] == "srun"):
        words = words[1:]
    return words
