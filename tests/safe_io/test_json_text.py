"""Any strict reader of JSON can read the files that the project writes."""

import ast
import json
import math
from pathlib import Path

import pytest

import dyhead
from dyhead.safe_io.json_text import ScalarLines, strict_json, write_json

PACKAGE = Path(dyhead.__file__).parent


def read_strictly(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_become_null_however_deep(number):
    content = {"a": [1.5, number, {"b": (number, "NaN")}], "c": None}
    assert read_strictly(strict_json(content)) == {
        "a": [1.5, None, {"b": [None, "NaN"]}],
        "c": None,
    }


def test_all_else_is_written_as_by_json():
    content = {"b": [1, 2.5, "é", True, None], "a": {}}
    assert strict_json(content, indent=1, sort_keys=True) == json.dumps(
        content, indent=1, sort_keys=True
    )


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a.json"
    write_json({"old": 1}, path)
    with pytest.raises(TypeError):
        write_json({"new": object()}, path)
    assert read_strictly(path.read_text()) == {"old": 1}


def test_scalars_are_written_once_and_strictly(tmp_path):
    lines = ScalarLines(tmp_path / "metrics.json")
    lines.append({"loss": (2.0, 0), "bbox/APs": (math.nan, 1)})
    lines.append({"loss": (2.0, 0), "lr": (0.1, 2)})
    lines.close()
    written = (tmp_path / "metrics.json").read_text().splitlines()
    assert [read_strictly(line) for line in written] == [
        {"iteration": 0, "loss": 2.0},
        {"iteration": 1, "bbox/APs": None},
        {"iteration": 2, "lr": 0.1},
    ]


def test_a_line_that_a_kill_cut_off_stays_alone(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 3, "lo')
    lines = ScalarLines(path)
    lines.append({"loss": (1.0, 4)})
    lines.close()
    assert path.read_text().splitlines()[1:] == ['{"iteration": 4, "loss": 1.0}']


def test_nothing_else_of_the_package_writes_json():
    """One owner: `json.dump` and `json.dumps` write NaN."""
    for path in PACKAGE.rglob("*.py"):
        if path.name == "json_text.py":
            continue
        used = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "json"
        }
        assert not used & {"dump", "dumps"}, f"{path}: use dyhead.safe_io.json_text"
