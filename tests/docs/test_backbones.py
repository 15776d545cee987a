"""The tables of docs/backbones.md say what `dyhead analyze` counts."""

import json
import re

import pytest
from documents import PROJECT

from dyhead.cli.main import main

PAGE = PROJECT / "docs" / "backbones.md"
_ROW = re.compile(r"^\| `(\w+)` \|.*\| ([\d.]+) G \| ([\d.]+) G \| ([\d.]+) M \|$", re.MULTILINE)
_SMALL = ("own_dataset", "own_dataset_from_random")


def rows() -> list[tuple[str, ...]]:
    return _ROW.findall(PAGE.read_text(encoding="utf-8"))


def test_both_tables_are_read():
    assert len(rows()) == 8
    assert set(_SMALL) < {row[0] for row in rows()}


@pytest.mark.slow
@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_row_says_what_is_counted(row, tmp_path, capsys):
    name, backbone, total, parameters = row
    size = ["384", "384"] if name in _SMALL else ["800", "1344"]
    path = tmp_path / "cost.json"
    main(["analyze", "--config", name, "--size", *size, "--json", str(path)])
    cost = json.loads(path.read_text())
    digits = 2 if name in _SMALL else 1
    assert f"{cost['parts'][0]['multiply_adds'] / 1e9:.{digits}f}" == backbone
    assert f"{cost['total']['multiply_adds'] / 1e9:.{digits}f}" == total
    assert f"{cost['total']['parameters'] / 1e6:.1f}" == parameters
