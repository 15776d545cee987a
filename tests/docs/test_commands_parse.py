"""Every command line of the documents has options, configs and config keys that exist."""

import re

import pytest
from document_commands import check_command
from documents import (
    NOTES,
    PAGES,
    PROJECT,
    Block,
    blocks_of,
    commands_of,
    inline_commands_of,
    programs_of,
)

from dyhead.cli.main import COMMANDS
from dyhead.config import load_config
from dyhead.config.load import leaf_keys

_KEY = re.compile(r"\b(?:MODEL|INPUT|DATASETS|DATALOADER|SOLVER|TEST)(?:\.[A-Z0-9_]+)+(?![\w*\\])")
_COMMENT = re.compile(rf"<!-- (?:{'|'.join(NOTES)}): ")


def check_block(block: Block) -> None:
    for command in commands_of(block.source):
        try:
            check_command(command)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{block}: {' '.join(command)}: {error!r}") from error


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_in_blocks_could_run(page):
    for block in blocks_of(page, "bash"):
        check_block(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_in_tables_and_text_could_run(page):
    for command in inline_commands_of(page):
        if command.is_whole:
            check_block(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_called_by_names_that_they_have(page):
    names = {f"dyhead {command.name}" for command in COMMANDS}
    assert {block.source for block in inline_commands_of(page) if block.is_name} <= names


@pytest.fixture(scope="module")
def keys():
    """All config keys, and the groups that they are in."""
    names = [name.split(".") for name in leaf_keys(load_config("")[0])]
    return {".".join(name[:end]) for name in names for end in range(1, len(name) + 1)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_config_keys_that_the_text_names_exist(page, keys):
    assert set(_KEY.findall(page.read_text(encoding="utf-8"))) <= keys


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_comments_are_of_a_known_kind_and_name_tests_that_there_are(page):
    text = page.read_text(encoding="utf-8").split("\n```")
    above = [part.rsplit("\n", 1)[-1] for part in text[:-1]]
    for line in above:
        if line.startswith("<!--"):
            assert _COMMENT.match(line), line
    for block in programs_of(page):
        if test := block.notes.get("tested by"):
            assert page.name in (PROJECT / test).read_text(encoding="utf-8"), block


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_comment_is_on_a_block_or_a_command(page):
    comments = len(_COMMENT.findall(page.read_text(encoding="utf-8")))
    assert sum(len(block.notes) for block in programs_of(page)) == comments
    within = [note for block in inline_commands_of(page) for note in block.notes.values()]
    assert not any("--" in note for note in within)  # GitHub would show it


@pytest.fixture
def small_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "`dyhead train` trains, `dyhead\n  info --build` <!-- not run: why --> builds.\n\n"
        "| there | here |\n| --- | --- |\n"
        "| `python train.py --a \\| b` | `dyhead check a \\| cat` <!-- given: a=1 --> |\n"
        "| x | `dyhead eval ...` |\n\n"
        "<!-- not run: other -->\n```bash\ndyhead view `a b`\n```\n`make docs`\n",
        encoding="utf-8",
    )
    return page


def test_commands_in_tables_and_text_are_found_with_their_comments(small_page):
    found = inline_commands_of(small_page)
    assert [(each.line, each.source, each.notes) for each in found] == [
        (1, "dyhead train", {}),
        (1, "dyhead info --build", {"not run": "why"}),
        (6, "dyhead check a | cat", {"given": "a=1"}),
        (7, "dyhead eval ...", {}),
        (13, "make docs", {}),
    ]


def test_what_a_page_has_to_be_run_is_in_its_order_without_names_and_forms(small_page):
    sources = [block.source for block in programs_of(small_page)]
    wanted = ["dyhead info --build", "dyhead check a | cat", "dyhead view `a b`\n", "make docs"]
    assert sources == wanted


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("dyhead trian --config quickstart", "no command trian"),
        ("dyhead train --config quikstart", "no config quikstart"),
        ("dyhead train --config quickstart SOLVER.BASE_LRR 1", "SOLVER.BASE_LRR"),
        ("dyhead train --config quickstart SOLVER.BASE_LR much", "SOLVER.BASE_LR"),
        ("dyhead predict run photos --output found --treshold 1", "2"),
        ("torchrun --nproc_per_node 2 train_net.py --config quickstart NO.KEY 1", "NO.KEY"),
        ("torchrun --no_such_option 2 train_net.py", "2"),
        ("python tools/gpu_chek.py", "gpu_chek"),
        ("python tools/gpu_check.py --no-such-option", "no-such-option"),
        ("make coffee", "coffee"),
        ('pip install "dyhead[no_extra]"', "no_extra"),
    ],
)
def test_a_command_that_could_not_run_is_found(line, fault):
    (command,) = commands_of(line)
    with pytest.raises((Exception, SystemExit), match=fault):
        check_command(command)


def test_a_shell_s_text_is_split_into_its_commands():
    text = 'A=1 dyhead info > file.txt # why\nfor i in 1 2; do make "x y" && break; done\n'
    text += "srun a \\\n b"
    wanted = [["dyhead", "info"], ["for", "i", "in", "1", "2"], ["make", "x y"], ["break"]]
    assert commands_of(text) == [*wanted, ["a", "b"]]
