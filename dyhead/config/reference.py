"""Explains every config key: default, meaning, lines that read it and configs that set it."""

import functools
import operator
import textwrap
from collections.abc import Collection
from typing import Any, NamedTuple

import yaml

from dyhead.config.comments import key_descriptions
from dyhead.config.defaults import add_dyhead_config
from dyhead.config.find import find_config, is_base, packaged_configs
from dyhead.config.headers import first_sentence, read_header
from dyhead.config.load import check_keys, leaf_keys, load_config, value_of
from dyhead.config.range_checks import RANGES
from dyhead.config.usage import find_reads
from dyhead.d2.config import CfgNode, get_cfg
from dyhead.safe_io.yaml import load_yaml

_REFERENCE_HEADER = """\
# Config keys

<!-- made by `make config-keys` from the comments beside the keys; change those -->

Every key, its default, the values that it may have and what it means. Any other value is refused
when the config is read, in a sentence with the key, the value and what is allowed. Keys in **bold**
are the project's own, the others are Detectron2's. `dyhead configs explain KEY` also says where a
key is read and which configs set it.
"""


class Key(NamedTuple):
    """A config key."""

    name: str  # dotted
    default: Any
    description: str  # "" where there is none
    is_own: bool  # the project adds it to Detectron2's
    allowed: str  # in words, such as "a whole number of 1 or more"


def all_keys() -> list[Key]:
    """List every key, in the order of the tree."""
    cfg = get_cfg()
    of_host = set(leaf_keys(cfg))
    add_dyhead_config(cfg)
    descriptions = key_descriptions()
    return [
        Key(
            name,
            value_of(cfg, name),
            descriptions.get(name, ""),
            name not in of_host,
            RANGES[name].words if name in RANGES else "",
        )
        for name in leaf_keys(cfg)
    ]


def explain(name: str) -> str:
    """Explain a key, or all keys of a group.

    Raises:
        UserError: there is no such key; the message has the nearest ones.
    """
    keys = all_keys()
    if members := [key for key in keys if key.name.startswith(f"{name}.")]:
        described = key_descriptions().get(name)
        head = [textwrap.fill(described, 98), ""] if described else []
        return "\n".join([*head, *map(_summary, members)])
    check_keys(load_config("")[0], {name}, "dyhead configs explain")
    (key,) = (key for key in keys if key.name == name)
    reads = [f"  {read.file}:{read.line}" for read in find_reads(name)]
    setters = [f"  {config}: {value!r}" for config, value in setting_configs(name)]
    return "\n".join(
        [
            _summary(key),
            f"\nA key of {'this project' if key.is_own else 'Detectron2'}.",
            *(["\nRead in", *reads] if reads else ["\nNothing in the package reads it."]),
            *(["\nSet by", *setters] if setters else ["\nNo packaged config sets it."]),
        ]
    )


def _summary(key: Key) -> str:
    allowed = f"Allowed: {key.allowed}." if key.allowed else ""
    lines = [textwrap.fill(part, 96) for part in (key.description, allowed) if part]
    return "\n".join(
        [f"{key.name} (default: {key.default!r})", *(textwrap.indent(line, "  ") for line in lines)]
    )


def setting_configs(name: str) -> list[tuple[str, Any]]:
    """List the packaged configs whose own file, not a base, sets a key, with the values there."""
    found = []
    for config in packaged_configs():
        if name in leaf_keys(load_yaml(find_config(config))):
            found.append((config, value_of(load_config(config)[0], name)))
    return found


def list_configs() -> list[tuple[str, str]]:
    """List name and description of the packaged configs, without those that are only bases."""
    names = [name for name in packaged_configs() if not is_base(name)]
    return [
        (name.removesuffix(".yaml"), first_sentence(read_header(find_config(name))))
        for name in names
    ]


def to_yaml(cfg: CfgNode, explicit_keys: Collection[str]) -> str:
    """Write a whole config as YAML that can be trained with, a key per line, without anchors.

    Args:
        cfg: merged.
        explicit_keys: those that somebody has set. Of the others, the numbers of classes and of
            loader processes are left out: they follow from the data and the machine, but written
            down they would be taken for set.
    """
    content = _plain(cfg)
    left_out = [key for key in leaf_keys(cfg) if _follows(key) and key not in explicit_keys]
    for key in left_out:
        *parents, name = key.split(".")
        del functools.reduce(operator.getitem, parents, content)[name]
    body: str = yaml.dump(content, Dumper=_Dumper, default_flow_style=False, width=96)
    if not left_out:
        return body
    note = f"Left out, for they follow from the data and the machine: {', '.join(left_out)}."
    return textwrap.fill(note, 98, initial_indent="# ", subsequent_indent="# ") + f"\n{body}"


def _follows(key: str) -> bool:
    return key == "DATALOADER.NUM_WORKERS" or key.endswith(".NUM_CLASSES")


class _Dumper(yaml.SafeDumper):
    """A YAML dumper with lists in brackets; what several keys share is written for each of them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_flow(self, data: list[Any]) -> yaml.Node:
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)


_Dumper.add_representer(list, _Dumper.represent_flow)


def differences(first: CfgNode, second: CfgNode) -> list[tuple[str, Any, Any]]:
    """List the keys that two merged configs have other values for, with both values.

    Lists and tuples of the same values are the same: YAML has lists only.
    """
    pairs = ((name, value_of(first, name), value_of(second, name)) for name in leaf_keys(first))
    return [(name, one, other) for name, one, other in pairs if _plain(one) != _plain(other)]


def _plain(value: Any) -> Any:
    """Return dictionaries and lists in the place of nodes and tuples."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def format_reference() -> str:
    """Write the reference of all keys in Markdown, a table for each group."""
    groups: dict[str, list[Key]] = {}
    for key in all_keys():
        groups.setdefault(key.name.rpartition(".")[0], []).append(key)
    return "\n".join([_REFERENCE_HEADER, *(_table(*group) for group in groups.items())])


def _table(group: str, keys: list[Key]) -> str:
    description = key_descriptions().get(group)
    rows = [_row(key) for key in keys]
    return "\n".join(
        [
            f"## {group or 'The run'}\n",
            *([f"{description}\n"] if description else []),
            "| key | default | allowed | meaning |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _row(key: Key) -> str:
    name = f"**{key.name}**" if key.is_own else key.name
    meaning = _escape(key.description)
    return f"| {name} | `{key.default!r}` | {_escape(key.allowed)} | {meaning} |"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<").replace("*", "\\*")
