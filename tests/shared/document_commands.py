"""Checks that a command line of the documents could run, without running it."""

import importlib
import re
from collections.abc import Callable, Sequence

import torch.distributed.run
from documents import PROJECT

from dyhead.cli import main as cli
from dyhead.config import load_config
from dyhead.config.find import packaged_configs
from dyhead.engine import argument_parser

Words = Sequence[str]


def check_command(words: Words) -> None:
    """Check program, options, config and config keys; other programs than ours are left alone.

    Raises:
        AssertionError, SystemExit, UserError: it could not run.
    """
    if check := _PROGRAMS.get(words[0]):
        check(words[1:])


def _check_dyhead(words: Words) -> None:
    if words[0].startswith("--"):
        return
    command = next((each for each in cli.COMMANDS if each.name == words[0]), None)
    assert command, f"dyhead has no command {words[0]}"
    parser = cli.build_parser(command, importlib.import_module(command.module))
    args = cli._parse(parser, list(words[1:]))
    given = list(getattr(args, "words", ()))
    overrides = [*given[len(given) % 2 :], *getattr(args, "opts", ()), *getattr(args, "set", ())]
    _check_config(getattr(args, "config_file", "") or "", overrides)


def _check_config(name: str, overrides: list[str]) -> None:
    stem = name.removeprefix("configs/").removesuffix(".yaml")
    is_own = f"{stem}.yaml" in packaged_configs()
    assert is_own or not name or "/" in name or name.endswith(".yaml"), f"there is no config {name}"
    load_config(name if is_own else "", overrides)


def _check_python(words: Words) -> None:
    if words[:2] == ["-m", "dyhead"]:
        _check_dyhead(words[2:])
    elif words[0] == "train_net.py":
        args = argument_parser().parse_intermixed_args(list(words[1:]))
        _check_config(args.config_file, args.opts)
    elif "/" in words[0]:
        script = PROJECT / words[0]
        text = "".join(path.read_text(encoding="utf-8") for path in script.parent.glob("*.py"))
        assert script.is_file(), f"there is no {words[0]}"
        unknown = [word for word in words[1:] if word.startswith("--") and f'"{word}"' not in text]
        assert not unknown, f"{words[0]} has no option {unknown}"


def _check_torchrun(words: Words) -> None:
    args = torch.distributed.run.get_args_parser().parse_args(list(words))
    before = ["-m"] if args.module else []
    _check_python([*before, args.training_script, *args.training_script_args])


def _check_make(words: Words) -> None:
    text = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in words if "=" not in word]
    missing = [each for each in targets if not re.search(rf"^{each}:", text, re.MULTILINE)]
    assert not missing, f"the Makefile has no target {missing}"


def _check_pip(words: Words) -> None:
    text = (PROJECT / "setup.py").read_text(encoding="utf-8")
    for extras in re.findall(r"^(?:\.|dyhead)\[(.*)\]$", "\n".join(words), re.MULTILINE):
        missing = [name for name in extras.split(",") if f'"{name.strip()}": ' not in text]
        assert not missing, f"setup.py has no extra {missing}"


_PROGRAMS: dict[str, Callable[[Words], None]] = {
    "dyhead": _check_dyhead,
    "python": _check_python,
    "torchrun": _check_torchrun,
    "make": _check_make,
    "pip": _check_pip,
}
