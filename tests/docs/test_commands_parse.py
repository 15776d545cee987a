"""Every command line of the documents has options, configs and config keys that exist."""

import pytest
from document_commands import check_command
from documents import NOTES, PAGES, PROJECT, blocks_of, commands_of, inline_commands_of

_NAMES_ONLY = 2  # words of `dyhead train`, as the text speaks of it


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_in_blocks_could_run(page):
    for block in blocks_of(page, "bash"):
        for command in commands_of(block.source):
            try:
                check_command(command)
            except (Exception, SystemExit) as error:
                raise AssertionError(f"{block}: {' '.join(command)}: {error!r}") from error


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_in_tables_and_text_could_run(page):
    for command in inline_commands_of(page):
        if len(command) <= _NAMES_ONLY or "..." in command:
            continue
        try:
            check_command(command)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{page.name}: {' '.join(command)}: {error!r}") from error


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_comments_above_blocks_are_of_a_known_kind_and_name_tests_that_there_are(page):
    text = page.read_text(encoding="utf-8").split("\n```")
    above = [part.rsplit("\n", 1)[-1] for part in text[:-1]]
    for line in above:
        if line.startswith("<!--"):
            assert line.startswith(tuple(f"<!-- {kind}: " for kind in NOTES)), line
    for block in blocks_of(page):
        if test := block.notes.get("tested by"):
            assert page.name in (PROJECT / test).read_text(encoding="utf-8"), block


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
