"""Every page runs as it stands: the shell's lines in their order, then Python's as one program.

They are those of its blocks, of its tables and of its text.
"""

import importlib.util
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from document_files import copy_files, make_files, run_program, run_shell
from document_programs import ONLY_PARSED
from documents import PAGES, Block, commands_of, programs_of

from dyhead.errors import UserError
from dyhead.export.exporting import check_pytorch

# README.md has no comments; these are its own, by a part of the text of a block or a command.
_LEVELS = "(torch.rand(1, 256, n, n) for n in (16, 8, 4, 2, 1))"
README_NOTES = {
    "--num-gpus 8": {"not run": "needs eight GPUs"},
    "DyHeadBlock(256, 256)": {"given": f"import torch; p3, p4, p5, p6, p7 = {_LEVELS}"},
}
# What the reader of a command in the text puts in the place of its capitals.
EXAMPLES = {
    "RUN": "output/run",
    "PICTURES": "photos",
    "SOURCE": "cells/data.yaml#train",
    "IN": "model_best.pth",
    "OUT": "written",
    "NAME": "own_dataset",
    "KEY": "SOLVER.EMA",
}
_CAPITALS = re.compile(rf"(?<![\w.])(?:{'|'.join(EXAMPLES)})(?!\w)")


def notes_of(block: Block) -> dict[str, str]:
    if block.page.name != "README.md":
        return block.notes
    return next((notes for part, notes in README_NOTES.items() if part in block.source), {})


def runs(block: Block) -> bool:
    if block.is_inline:
        parsed = all(command[0] in ONLY_PARSED for command in commands_of(block.source))
    else:
        parsed = block.language not in ("bash", "python") and "file" not in block.notes
    return not parsed and not {"not run", "tested by"} & set(notes_of(block))


def find_programs() -> dict[Path, list[Block]]:
    """Return the programs that run, by page; a command in a text only where it stands first."""
    found: dict[Path, list[Block]] = {}
    seen = set()
    for page in PAGES:
        for block in filter(runs, programs_of(page)):
            if not block.is_inline or block.source not in seen:
                found.setdefault(page, []).append(block)
            seen.add(block.source)
    return found


PROGRAMS = find_programs()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    pytest.importorskip("av")
    folder = make_files(tmp_path_factory.mktemp("docs") / "files")
    written = write_times(folder)
    yield folder
    changed = write_times(folder) != written
    shutil.rmtree(folder)
    assert not changed, "a page has written into weights that it shares with the others"


def write_times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.pth")}


def can_export() -> bool:
    if importlib.util.find_spec("onnxruntime") is None:
        return False  # there is none with DeformConv for Python 3.10
    try:
        check_pytorch()
    except UserError:
        return False
    return True


def without_exports(blocks: list[Block]) -> list[Block]:
    """Leave out commands that export; skip a page where the blocks after one need its file."""
    exports = [block for block in blocks if "dyhead export" in block.source]
    if not all(block.is_inline for block in exports):
        pytest.skip("this PyTorch or Python cannot export")
    return [block for block in blocks if block not in exports]


def shell_of(block: Block) -> str:
    given = notes_of(block).get("given", "")
    if not block.is_inline:
        return f"{given}\n{block.source}"
    return f"{given}\n{_CAPITALS.sub(lambda word: EXAMPLES[word[0]], block.source)}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.stem)
def test_what_a_page_has_to_be_run_runs(page, files, tmp_path):
    blocks = PROGRAMS[page] if can_export() else without_exports(PROGRAMS[page])
    folder = tmp_path / "reader"
    copy_files(files, folder)
    program = []
    for block in blocks:
        notes = notes_of(block)
        if "file" in notes:
            (folder / notes["file"]).write_text(block.source, encoding="utf-8")
        elif block.language == "python":
            program += [notes.get("given", ""), f"# {block}", block.source]
    for block in blocks:
        if block.language == "bash":
            run_shell(shell_of(block), folder)
    if program:
        run_program([sys.executable, "-c", "\n".join(program)], folder)


@pytest.mark.parametrize("part", README_NOTES)
def test_notes_on_the_readme_are_on_one_of_its_programs(part):
    (readme,) = [page for page in PAGES if page.name == "README.md"]
    assert sum(part in block.source for block in programs_of(readme)) == 1


@pytest.mark.parametrize("word", EXAMPLES)
def test_examples_take_the_place_of_a_word_of_a_command(word):
    commands = [block for blocks in PROGRAMS.values() for block in blocks if block.is_inline]
    assert any(word in _CAPITALS.findall(block.source) for block in commands)


@pytest.mark.parametrize("name", ONLY_PARSED)
def test_programs_that_never_run_are_named_somewhere(name):
    lines = [block.source for page in PAGES for block in programs_of(page)]
    assert any(re.search(rf"^{name} ", line, re.MULTILINE) for line in lines)


@pytest.mark.parametrize("name", ["official_code", "mmdetection", "detectron2", "ultralytics"])
def test_the_commands_of_the_tables_for_those_who_move_here_run(name):
    """Each, or the same one above it, but for those that say why not."""
    (page,) = [page for page in PAGES if page.stem == f"from_{name}"]
    sources = {block.source for blocks in PROGRAMS.values() for block in blocks}
    rows = [row for row in programs_of(page) if row.is_inline]
    assert len([row for row in rows if row.source in sources]) >= len(rows) - 1 > 3
    left = [row for row in rows if row.source not in sources]
    assert all("not run" in row.notes or row.source.startswith(ONLY_PARSED) for row in left)
