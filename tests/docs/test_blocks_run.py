"""The blocks of every page run as they stand: the shell's in their order, then Python's as one."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from document_files import copy_files, make_files, run_program, run_shell
from documents import PAGES, Block, blocks_of

from dyhead.errors import UserError
from dyhead.export.exporting import check_pytorch

# README.md has no comments above its blocks; these are its own, by a part of their text.
_LEVELS = "(torch.rand(1, 256, n, n) for n in (16, 8, 4, 2, 1))"
README_NOTES = {
    "--num-gpus 8": {"not run": "needs eight GPUs"},
    "DyHeadBlock(256, 256)": {"given": f"import torch; p3, p4, p5, p6, p7 = {_LEVELS}"},
}
PAGES_THAT_RUN = [page for page in PAGES if blocks_of(page, "bash") or blocks_of(page, "python")]


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


def notes_of(block: Block) -> dict[str, str]:
    if block.page.name != "README.md":
        return block.notes
    return next((notes for part, notes in README_NOTES.items() if part in block.source), {})


def skip_where_nothing_can_be_exported() -> None:
    pytest.importorskip("onnxruntime")  # there is none with DeformConv for Python 3.10
    try:
        check_pytorch()
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES_THAT_RUN, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, files, tmp_path):
    blocks = [(block, notes_of(block)) for block in blocks_of(page)]
    blocks = [pair for pair in blocks if not {"not run", "tested by"} & set(pair[1])]
    if any("dyhead export" in block.source for block, _ in blocks):
        skip_where_nothing_can_be_exported()
    folder = tmp_path / "reader"
    copy_files(files, folder)
    program = []
    for block, notes in blocks:
        if "file" in notes:
            (folder / notes["file"]).write_text(block.source, encoding="utf-8")
        elif block.language == "python":
            program += [notes.get("given", ""), f"# {block}", block.source]
    for block, _ in blocks:
        if block.language == "bash":
            run_shell(block.source, folder)
    run_program([sys.executable, "-c", "\n".join(program)], folder)


@pytest.mark.parametrize("part", README_NOTES)
def test_notes_on_the_readme_are_on_one_of_its_blocks(part):
    (readme,) = [page for page in PAGES if page.name == "README.md"]
    assert sum(part in block.source for block in blocks_of(readme)) == 1
