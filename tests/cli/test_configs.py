"""`dyhead configs` as a user runs it, from a folder without configs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from label_files import write_coco
from script_runs import environment

from dyhead.cli.main import main
from dyhead.config import load_config
from dyhead.data import fill_num_classes, register_datasets
from dyhead.data.num_classes import get_num_classes


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in an empty folder."""
    monkeypatch.chdir(tmp_path)


def test_list_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    main(["configs", "list"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("quickstart  ") for line in lines)
    assert any(line.startswith("own_dataset  ") for line in lines)
    for line in lines:
        name, _, description = line.partition("  ")
        load_config(name)
        assert description.strip()


def test_without_an_action_the_configs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["configs", "list"])
    listed = capsys.readouterr().out
    main(["configs"])
    assert capsys.readouterr().out == listed


def test_show_prints_a_config_that_loads_to_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main(["configs", "show", "quickstart", "SEED", "7"])
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["SEED"] == 7
    (tmp_path / "shown.yaml").write_text(text)
    again, _ = load_config(tmp_path / "shown.yaml")
    expected, _ = load_config("quickstart", ["SEED", "7"])
    assert json.dumps(again) == json.dumps(expected)  # as lists: YAML has no tuples
    assert "&" not in text and "SIZES: [[32], [64], [128], [256], [512]]" in text


def test_what_is_shown_trains_on_other_classes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, own_catalogs: None
) -> None:
    main(["configs", "show", "own_dataset"])
    (tmp_path / "mine.yaml").write_text(capsys.readouterr().out)
    insects = write_coco(tmp_path / "insects")
    sources = f"[[own_train, '{insects.as_posix()}'], [own_val, '{insects.as_posix()}']]"
    cfg, explicit_keys = load_config(tmp_path / "mine.yaml", ["DATASETS.SOURCES", sources])
    register_datasets(cfg)
    fill_num_classes(cfg, explicit_keys)
    assert get_num_classes(cfg) == 3


def test_a_number_of_classes_that_was_set_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    main(["configs", "show", "quickstart", "MODEL.ATSS.NUM_CLASSES", "5"])
    model = yaml.safe_load(capsys.readouterr().out)["MODEL"]
    assert model["ATSS"]["NUM_CLASSES"] == 5
    assert "NUM_CLASSES" not in model["FCOS"]


def test_loader_processes_that_nobody_set_are_left_to_the_machine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for opts in ([], ["DATALOADER.NUM_WORKERS", "3"]):
        main(["configs", "show", "dyhead_r50_atss_fpn_1x", *opts])
        loader = yaml.safe_load(capsys.readouterr().out)["DATALOADER"]
        assert ("NUM_WORKERS" in loader) == bool(opts)


def test_diff_prints_both_values(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump(yaml.safe_load(load_config("quickstart")[0].dump()) | {"SEED": 9})
    )
    main(["configs", "diff", "quickstart", "mine.yaml"])
    assert capsys.readouterr().out == "SEED: 1 -> 9\n"
    main(["configs", "diff", "quickstart", "quickstart.yaml"])
    assert "say the same" in capsys.readouterr().out


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    main(["configs", "explain", "SOLVER.OPTIMIZER"])
    assert "SOLVER.OPTIMIZER (default: 'SGD')" in capsys.readouterr().out


def test_reference(capsys: pytest.CaptureFixture[str]) -> None:
    main(["configs", "reference"])
    assert capsys.readouterr().out.startswith("# Config keys\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["show", "quikstart"], "did you mean quickstart"),
        (["show", "quickstart", "SEEED", "1"], "did you mean SEED"),
        (["diff", "quickstart", "no.yaml"], "There is no config no.yaml"),
        (["explain", "SOLVER.LR"], "SOLVER.BASE_LR"),
    ],
)
def test_mistakes_end_with_one_sentence(line: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["configs", *line])
    assert str(stopped.value).startswith("Error: ") and message in str(stopped.value)


def test_no_torch_is_imported_for_them() -> None:
    code = """
import sys
from dyhead.d2 import HOST
from dyhead.cli.main import main
for line in ("list", "show quickstart", "explain MODEL.DYHEAD.NUM_CONVS"):
    main(["configs", *line.split()])
print("imported:", HOST == "embedded" and "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "imported: False", done.stderr


def test_a_reader_may_close_the_pipe() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as output:
        done = subprocess.run(
            [sys.executable, "-m", "dyhead", "configs", "reference"],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
    assert (done.returncode, done.stderr) == (0, "")
