"""The tables of results come from the headers of the configs."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[2]
CONFIG = """\
# A detector with a head
# on two lines: it detects. More about it.
#   python train_net.py --config configs/one.yaml
# Published: box AP 42.4 on COCO val2017 (official code).
# Published: box AP 43.0 on COCO
# test-dev (paper,
# Table 4).
# Measured here: box AP 58.1 on BCCD (16 minutes | 2 CPU cores).
_BASE_: "Base-one.yaml"
# Published: box AP 99.9 on a dream (not in the header).
"""
ROW = (
    "| [one.yaml](../configs/one.yaml) | A detector with a head on two lines: it detects |"
    " 42.4 on COCO val2017 (official code)<br>43.0 on COCO test-dev (paper, Table 4) |"
    " 58.1 on BCCD (16 minutes \\| 2 CPU cores) |"
)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "results_table", PROJECT / "tools" / "results_table.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path: Path, tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    pages = (tool.Page("docs/all.md", "../"), tool.Page("README.md", "", ("data/a.yaml",)))
    monkeypatch.setattr(tool, "PAGES", pages)
    (tmp_path / "docs").mkdir()
    (tmp_path / "configs" / "data").mkdir(parents=True)
    (tmp_path / "configs" / "one.yaml").write_text(CONFIG)
    (tmp_path / "configs" / "Base-one.yaml").write_text("# What all have.\n")
    (tmp_path / "configs" / "data" / "a.yaml").write_text("# Another.\nSEED: 1\n")
    text = f"Before.\n{tool.BEGIN}\nan old table\n{tool.END}\nAfter.\n"
    for page in pages:
        (tmp_path / page.path).write_text(text)
    return tmp_path


def test_no_table_is_stale(tool: ModuleType) -> None:
    assert tool.main(["--check"]) == 0


def test_writes_a_row_per_config(tool: ModuleType, root: Path) -> None:
    assert tool.main([], root) == 0
    lines = (root / "docs/all.md").read_text().splitlines()
    assert (lines[:2], lines[-2:]) == (["Before.", tool.BEGIN], [tool.END, "After."])
    table = [line for line in lines if line.startswith("|")]
    assert table[2:] == [ROW, "| [data/a.yaml](../configs/data/a.yaml) | Another | | |"]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_a_page_may_have_some_of_the_rows(tool: ModuleType, root: Path) -> None:
    tool.main([], root)
    table = [line for line in (root / "README.md").read_text().splitlines() if line[:1] == "|"]
    assert table[2:] == ["| [data/a.yaml](configs/data/a.yaml) | Another | | |"]


def test_check_changes_nothing_and_sees_every_change(
    tool: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (root / "README.md").read_text()
    assert tool.main(["--check"], root) == 1
    assert "make results-table" in capsys.readouterr().err
    assert (root / "README.md").read_text() == before
    tool.main([], root)
    assert tool.main(["--check"], root) == 0
    (root / "configs" / "one.yaml").write_text(CONFIG.replace("42.4", "42.5"))
    assert tool.main(["--check"], root) == 1


@pytest.mark.parametrize(
    "header",
    [
        "# One.\n# Published: AP 42.4 on COCO (paper).\n",
        "# One.\n# Published: box AP 42.4 on COCO.\n",
        "# One.\n# Published: box AP 42.4 on COCO (paper)\n# Published: box AP 1.0 on B (paper).\n",
        "# One.\n# Measured on a laptop: box AP 42.4.\n# Measured here: 42.4.\n",
        "# No sentence\n",
        "# Published: box AP 42.4 on COCO (paper).\n",
        "SEED: 1\n",
    ],
)
def test_refuses_other_headers(
    tool: ModuleType, root: Path, capsys: pytest.CaptureFixture[str], header: str
) -> None:
    (root / "configs" / "one.yaml").write_text(header)
    assert tool.main([], root) == 1
    assert "configs/one.yaml" in capsys.readouterr().err


def test_needs_the_markers(
    tool: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "README.md").write_text("No table.\n")
    assert tool.main([], root) == 1
    error = capsys.readouterr().err
    assert "README.md" in error
    assert tool.BEGIN in error
