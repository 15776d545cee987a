"""Finds where the package reads a config key, by looking through its source.

A read is an expression such as `cfg.SOLVER.BASE_LR`, or `solver.BASE_LR` after `solver =
cfg.SOLVER` or `solver, model = cfg.SOLVER, cfg.MODEL`, or in a function whose parameter `solver` is
given `cfg.SOLVER` anywhere.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PACKAGE = Path(__file__).parents[1]
_ANY = "*"  # a part of a key that is only known when the code runs
_PASSES = 4  # a group of keys goes through so many functions at most

Parts = tuple[str, ...]  # of a key, such as ("SOLVER", "BASE_LR")


class Read(NamedTuple):
    """A line that reads a key."""

    file: str  # from the folder that the package is in, such as "dyhead/engine/trainer.py"
    line: int


class _Module:
    """A source, with the groups of keys that its names stand for."""

    def __init__(self, file: str, source: str) -> None:
        self.file = file
        self.nodes = list(ast.walk(ast.parse(source)))
        self.groups: dict[str, set[Parts]] = {"cfg": {()}}

    def functions(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the functions' names, and those of their parameters without self and cls."""
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef):
                names = [argument.arg for argument in node.args.args]
                yield node.name, names[1:] if names[:1] in (["self"], ["cls"]) else names

    def name_groups(self) -> None:
        """Let the names that groups are assigned to stand for these."""
        for node in self.nodes:
            if isinstance(node, ast.Assign):
                for target, value in _assignments(node):
                    self.add(_last_name(target), self.keys(value))

    def add(self, name: str, keys: set[Parts]) -> None:
        """Let a name stand for these groups too."""
        if name and keys:
            self.groups.setdefault(name, set()).update(keys)

    def calls(self) -> Iterator[tuple[str, int, set[Parts]]]:
        """Yield function name, position and groups of every argument that is a group of keys."""
        for node in self.nodes:
            if isinstance(node, ast.Call):
                for position, argument in enumerate(node.args):
                    if keys := self.keys(argument):
                        yield _last_name(node.func), position, keys

    def keys(self, node: ast.expr) -> set[Parts]:
        """Return the keys or groups that an expression may stand for; () is the whole config."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute | ast.Subscript):
            name = _part(node)
            if name != _ANY and not name.isupper():
                break
            parts.insert(0, name)
            node = node.value
        return {prefix + tuple(parts) for prefix in self.groups.get(_last_name(node), ())}


def find_reads(key: str) -> list[Read]:
    """List the lines of the package that read a dotted key, by file and line."""
    return _find(_package(), key)


def find_reads_in(sources: dict[str, str], key: str) -> list[Read]:
    """List the lines that read a dotted key in sources, given by the names of their files."""
    return _find(_resolve([_Module(file, source) for file, source in sources.items()]), key)


def _find(modules: list[_Module], key: str) -> list[Read]:
    wanted = tuple(key.split("."))
    return sorted(
        {
            Read(module.file, node.end_lineno or node.lineno)
            for module in modules
            for node in module.nodes
            if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Load)
            if any(_equal(parts, wanted) for parts in module.keys(node))
        }
    )


@functools.cache
def _package() -> list[_Module]:
    modules = []
    for path in sorted(_PACKAGE.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "cfg" in source and path.parent.name != "config":  # which makes keys and reads none
            modules.append(_Module(path.relative_to(_PACKAGE.parent).as_posix(), source))
    return _resolve(modules)


def _resolve(modules: list[_Module]) -> list[_Module]:
    """Let the parameters of the modules' functions stand for what any call gives them."""
    parameters = [(module, *function) for module in modules for function in module.functions()]
    for _ in range(_PASSES):
        for module in modules:
            module.name_groups()
        calls = [call for module in modules for call in module.calls()]
        for module, function, names in parameters:
            for called, position, keys in calls:
                if called == function and position < len(names):
                    module.add(names[position], keys)
    return modules


def _assignments(node: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield every target and its value, those of `a, b = x, y` one by one."""
    pairs = [(target, node.value) for target in node.targets]
    for target, value in pairs:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs.extend(zip(target.elts, value.elts, strict=False))
        else:
            yield target, value


def _last_name(node: ast.expr) -> str:
    """Return the name of a variable or an attribute, as "cfg" of self.cfg."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _part(node: ast.Attribute | ast.Subscript) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        return node.slice.value
    return _ANY


def _equal(parts: Parts, wanted: Parts) -> bool:
    return (
        len(parts) == len(wanted)
        and all(part in (_ANY, name) for part, name in zip(parts[:-1], wanted, strict=False))
        and parts[-1] == wanted[-1]
    )
