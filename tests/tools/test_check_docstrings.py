"""A docstring that asks is refused, one that tells is not."""

from pathlib import Path

import pytest
from check_docstrings import find_fault, main

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("word", ["What", "How", "Where", "Which", "Whether", "why", "WHO"])
def test_a_question_word_is_refused_by_name(word: str) -> None:
    fault = find_fault(f"{word} the module does.")
    assert fault is not None and f"begins with {word}" in fault


@pytest.mark.parametrize(
    "text",
    [
        "Return the boxes.",
        "`boxes` in XYXY format, clipped.",
        "A sampler that draws\nclasses evenly.\n\nArgs:\n    ratio: 0.5",
        "Whatever is left over is kept.",
        "2D convolution.",
        "(N, C, H, W) features.",
    ],
)
def test_a_sentence_is_accepted(text: str) -> None:
    assert find_fault(text) is None


@pytest.mark.parametrize(
    "text", ["boxes: (N, 4).", "Return the boxes", "Return:\n\n    the boxes.", ""]
)
def test_what_is_no_sentence_is_refused(text: str) -> None:
    assert find_fault(text) == "does not begin with a sentence"


def test_every_kind_of_docstring_is_found_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        '"""How modules begin."""',
        "class Box:",
        '    """Where it is."""',
        "    async def area(self):",
        '        """Whether it is empty."""',
        '        "Which is no docstring"',
        "def fine():",
        '    """Return nothing."""',
        "def bare(): pass",
    ]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "module.py").write_text("\n".join(lines), encoding="utf-8")
    assert main([tmp_path]) == "3 docstrings to mend."
    found = [line.split("module.py:")[1] for line in capsys.readouterr().out.splitlines()]
    assert [line.split(":")[0] for line in found] == ["1", "3", "5"]


def test_a_folder_without_faults_passes_silently(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "module.py").write_text('"""Boxes."""\n', encoding="utf-8")
    assert main([tmp_path]) is None
    assert capsys.readouterr().out == ""
