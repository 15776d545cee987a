"""`dyhead analyze` as a user runs it."""

import json
from pathlib import Path

import pytest

from dyhead.cli.main import main

CONFIG = str(Path(__file__).parents[2] / "configs" / "Base-ATSS-DyHead-R18-small.yaml")


def test_prints_the_table_and_writes_the_same_numbers(tmp_path, capsys):
    output = tmp_path / "cost.json"
    arguments = ["analyze", "--config", CONFIG, "--size", "64", "96", "--json", str(output)]
    main([*arguments, "MODEL.DYHEAD.NUM_CONVS", "1", "MODEL.DEVICE", "cuda"])
    text = capsys.readouterr().out
    values = json.loads(output.read_text())
    assert values["size"] == [64, 96]
    names = [part["name"] for part in values["parts"]]
    assert [name for name in names if name.startswith("block")] == ["block 1"]
    assert all(name in text for name in names)
    assert f"{values['total']['parameters']:,}" in text
    outer = [part for part in values["parts"] if part["depth"] == 0]
    for number in ("multiply_adds", "parameters", "activations", "saved_bytes"):
        assert sum(part[number] for part in outer) == values["total"][number] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config-file", "missing.yaml"], "missing.yaml"),
        (["--config-file", CONFIG, "MODEL.DYHEAD.NUM_CONV", "1"], "MODEL.DYHEAD.NUM_CONVS"),
        (["--config-file", CONFIG, "--size", "100", "100"], "use --size 104 104"),
        (["--config-file", CONFIG, "--size", "64", "64", "--table2"], "leave --size out"),
        (["--config-file", CONFIG, "MODEL.DYHEAD.CHANNELS", "50"], "MODEL.DYHEAD.CHANNELS"),
        (
            ["--config-file", CONFIG, "--size", "64", "64", "--json", "no/such/folder/a.json"],
            "--json no/such/folder/a.json",
        ),
    ],
)
def test_bad_input_ends_with_one_sentence(arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(["analyze", *arguments])
    assert str(stopped.value).startswith("Error: ") and message in str(stopped.value)


def test_usage_errors_and_help(capsys):
    for arguments, code in (([], 2), (["analyze"], 2), (["--help"], 0), (["--version"], 0)):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == code
    assert "analyze" in capsys.readouterr().out
