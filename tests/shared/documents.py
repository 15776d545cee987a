"""The commands and the code of the documents, as their readers find them.

A fenced block may have comments right above it, and a command in a text or a table right behind it,
which no reader sees:

    <!-- not run: why -->           its commands are parsed, and not executed
    <!-- tested by: tests/x.py -->  another test executes it
    <!-- given: code -->            what the reader is taken to have, made in the block's language
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
_NOTE = re.compile(rf"<!-- ({'|'.join(NOTES)}): (.*?) -->")
_SPAN = re.compile(
    r"(?<!`)`(?P<source>(?:[^`\n]|\n(?!\s*\n))+)`(?!`)(?P<notes>(?:\s?<!-- [^\n]*? -->)*)"
)
_COMMAND = re.compile(r"(?:dyhead|torchrun|pip install|make) |python \S+\.py(?: |$)")
_FOREIGN = re.compile(r"^\| there \|.*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
_FIRST_CELL = re.compile(r"^\|(?:[^|\\\n]|\\.)*\|", re.MULTILINE)
_SEPARATORS = {";", "&&", "||", "|", "do", "done", "then", "else", "fi", "if", "{", "}"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, or a command in its text; `line` is its first, counted from 1."""

    page: Path
    line: int
    language: str
    source: str
    notes: dict[str, str] = field(default_factory=dict)
    is_inline: bool = False

    def __str__(self) -> str:
        """Say where it stands."""
        return f"{self.page.relative_to(PROJECT)}, line {self.line}"

    @property
    def is_whole(self) -> bool:
        """Tell whether it can be run, unlike `dyhead train` in a sentence, or a form with "..."."""
        return not (self.is_inline and ("..." in self.source or self.is_name))

    @property
    def is_name(self) -> bool:
        """Tell whether it is but the name of a command, `dyhead train`."""
        return self.is_inline and re.fullmatch(r"dyhead [a-z-]+", self.source) is not None


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


def inline_commands_of(page: Path) -> list[Block]:
    """Return the commands in the running text and the tables of a page, each in one line.

    A table's first column is another program's where it is headed "there".
    """
    text = _BLOCK.sub(_blank, page.read_text(encoding="utf-8"))
    text = _FOREIGN.sub(lambda table: _FIRST_CELL.sub(_blank, table[0]), text)
    found = []
    for match in _SPAN.finditer(text):
        source = re.sub(r"\s+", " ", match["source"]).replace("\\|", "|")
        if _COMMAND.match(source):
            line = text.count("\n", 0, match.start()) + 1
            notes = dict(_NOTE.findall(match["notes"]))
            found.append(Block(page, line, "bash", source, notes, is_inline=True))
    return found


def _blank(match: re.Match[str]) -> str:
    """Return spaces in the place of a text, which leave all others in their lines."""
    return re.sub(r"[^\n]", " ", match[0])


def programs_of(page: Path) -> list[Block]:
    """Return the blocks of a page and the whole commands in its text, as they follow each other."""
    inline = [command for command in inline_commands_of(page) if command.is_whole]
    return sorted([*blocks_of(page), *inline], key=lambda block: block.line)


def _without_variables(words: list[str]) -> list[str]:
    while words and (re.match(r"\w+=", words[0]) or words[0] == "srun"):
        words = words[1:]
    return words
