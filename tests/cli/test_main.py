"""The table of subcommands: all of them complete, and each quick to explain itself."""

import importlib
import shlex
import subprocess
import sys

import pytest

from dyhead import __version__
from dyhead.cli import convert, train
from dyhead.cli.main import COMMANDS, Command, main

# What takes longer to import than a --help may take altogether.
SLOW = ("torch", "numpy", "PIL", "matplotlib", "detectron2", "fvcore", "yacs", "timm")
LINES = [["--help"], *([command.name, "--help"] for command in COMMANDS)]


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_help_imports_nothing_slow(line: list[str]) -> None:
    code = f"""
import sys
from dyhead.cli.main import main
try:
    main({line})
finally:
    print("imported:", *sorted(set(sys.modules).intersection({SLOW})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["imported:"]


def test_importing_the_package_imports_nothing_slow() -> None:
    code = f"import dyhead, sys; print(*set(sys.modules).intersection({SLOW}))"
    assert not subprocess.check_output([sys.executable, "-c", code], text=True).strip()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_an_example_that_parses(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(command.module)
    with pytest.raises(SystemExit, match="0"):
        main([command.name, "--help"])
    help_text = capsys.readouterr().out
    ran = []
    monkeypatch.setattr(module, "run", ran.append)
    for example in _lines(module.EXAMPLE):
        assert example.split()[:2] == ["dyhead", command.name]
        main(_words(example))
    assert len(ran) == len(_lines(module.EXAMPLE)) > 0
    for line in module.EXAMPLE.strip().splitlines():
        assert f"  {line}\n" in f"{help_text}\n"
    assert module.DESCRIPTION.split()[0] in help_text


def _lines(example: str) -> list[str]:
    return example.strip().replace("\\\n", " ").splitlines()


def _words(line: str) -> list[str]:
    return shlex.split(line)[1:]


def test_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out.splitlines()
    for command in COMMANDS:
        assert [line for line in printed if line.split() == [command.name, *command.help.split()]]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"dyhead {__version__}\n"


@pytest.mark.parametrize("line", [[], ["trian"], ["--", "train"], ["train", "--no-such-option"]])
def test_usage_errors_exit_with_2(line: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(line)
    assert stopped.value.code == 2


def test_the_exit_status_is_what_run_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    line = ["convert", "in.pth", "out.pth"]
    monkeypatch.setattr(convert, "run", lambda args: 3)
    with pytest.raises(SystemExit) as stopped:
        main(line)
    assert stopped.value.code == 3
    monkeypatch.setattr(convert, "run", lambda args: None)
    main(line)


def test_an_interruption_needs_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(convert, "run", interrupted)
    with pytest.raises(SystemExit) as stopped:
        main(["convert", "in.pth", "out.pth"])
    assert stopped.value.code == 130


def test_overrides_may_stand_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(train, "run", seen.append)
    main(["train", "SEED", "-1", "--config", "a.yaml", "MODEL.WEIGHTS", "", "--num-gpus", "2"])
    (args,) = seen
    assert args.opts == ["SEED", "-1", "MODEL.WEIGHTS", ""]
    assert (args.config_file, args.num_gpus) == ("a.yaml", 2)


@pytest.mark.parametrize("command", ["check", "explain", "predict"])
def test_a_second_pair_behind_set_is_told_from_a_file(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "a.jpg"] if command != "check" else ["a.json"]
    output = ["--output", "out"] if command != "check" else []
    pairs = ["--set", "TEST.PRECISION", "bfloat16", "MODEL.DEVICE", "cpu"]
    with pytest.raises(SystemExit, match="2"):
        main([command, *words, *output, *pairs])
    error = capsys.readouterr().err
    assert "MODEL.DEVICE is a key of the config: write --set before each key" in error
