"""The script counts in a small package what was counted there by hand."""

from pathlib import Path

import pytest
from count_structure import (
    count_comments,
    count_host,
    count_lines,
    count_ops,
    count_private_uses,
    count_questions,
    count_small_files,
    trace_block,
)

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A checkout whose operators have three modules, one of them in a sub-package."""
    files = {
        "dyhead/__init__.py": "",
        "dyhead/alone.py": "class Same:\n    pass\n" + "x = 1\n" * 60,
        "dyhead/ops/__init__.py": "from dyhead.ops.conv import convolve\n",
        "dyhead/ops/conv.py": "from dyhead.ops import choice\nimport dyhead.ops.cpp.build\n",
        "dyhead/ops/choice.py": "def choose():\n    from dyhead.ops.cpp.build import build\n",
        "dyhead/ops/cpp/__init__.py": "",
        "dyhead/ops/cpp/build.py": "import os\nfrom dyhead.ops.cpp import flags\n",
        "dyhead/ops/cpp/flags.py": "",
        "dyhead/d2/__init__.py": "one = 1\ntwo = 2\n",
        "dyhead/d2/safe_io/load.py": "def load():\n    pass\n",
        "dyhead/d2/engine/launch.py": "class Same:\n    pass\n\n\ndef launch():\n    pass\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_imports_within_functions_and_of_the_package_count_once_each(source: Path) -> None:
    (modules, rooms) = (value for _, value in count_ops(source))
    # the package's own, two of conv.py, one of choice.py, one of build.py
    assert modules == "5, 5"
    # conv.py imports the two others, choice.py the sub-package, which is one room
    assert rooms == "3, 3"


def test_names_out_of_a_sub_package_are_imports_of_its_init(source: Path) -> None:
    (source / "dyhead/ops/alone.py").write_text("from dyhead.ops.cpp import NAME\n", "utf-8")
    (modules, rooms) = (value for _, value in count_ops(source))
    assert (modules, rooms) == ("6, 6", "4, 4")


def test_without_an_embedded_package_the_sub_packages_are_the_host(source: Path) -> None:
    door, both, names = (value for _, value in count_host(source))
    assert (door, both, names) == ("2", "8", "1: Same")


def test_beside_an_embedded_package_everything_else_is_the_door(source: Path) -> None:
    (source / "dyhead/d2/engine").rename(source / "dyhead/d2/_embedded")
    (source / "dyhead/d2/_embedded/__init__.py").touch()
    (source / "dyhead/d2/engine.py").write_text("three = 3\n", encoding="utf-8")
    door, both, _ = (value for _, value in count_host(source))
    assert (door, both) == ("3", "9")


def test_the_host_and_what_only_marks_a_package_are_no_small_files(source: Path) -> None:
    assert count_small_files(source) == "4, 6"


def test_comments_docstrings_and_code_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        '"""Which\nlines.\n"""\n\n# alone\nx = (  # behind\n    "# none",\n)\n\n\n'
        'def f():\n    """Fine."""\n    return 1  # behind\n',
        encoding="utf-8",
    )
    assert count_comments([path]) == (1, 2, 5)
    assert count_questions([path]) == (1, 2)
    assert count_lines([path]) == 13


def test_private_names_of_others_count_and_own_ones_do_not(tmp_path: Path) -> None:
    path = tmp_path / "test_module.py"
    path.write_text(
        "from dyhead.ops import _one, two\nfrom os import _exit\nimport dyhead\n"
        "dyhead._three.four.__name__\nself._five\n"
        "patch('dyhead.ops._six', '_seven')\n",
        encoding="utf-8",
    )
    assert count_private_uses([path]) == 3  # _one, _three, _six


@pytest.mark.slow
def test_a_block_enters_fewer_files_than_it_makes_moves() -> None:
    files, moves, depth = map(int, trace_block(PROJECT).split(", "))
    assert 1 < files <= moves  # a trace that found nothing gives zeros
    assert depth > 1
