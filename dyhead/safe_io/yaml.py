"""Reading YAML safely, on either host: no tag ever runs code."""

import os
from typing import Any

import yaml

from .expression import evaluate

BASE_KEY = "_BASE_"
EVAL_TAG = "tag:yaml.org,2002:python/object/apply:eval"
TUPLE_TAG = "tag:yaml.org,2002:python/tuple"
MAX_NODES = 100_000
MAX_BYTES = 8 << 20
_MERGE_TAG = "tag:yaml.org,2002:merge"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
# Standard YAML for values that no config holds.
_REFUSED_TAGS = tuple(
    f"tag:yaml.org,2002:{name}" for name in ("timestamp", "set", "binary", "omap", "pairs")
)


def load_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read one YAML file; `_BASE_` is left as it is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, too large or no UTF-8 text, or as for `load_yaml_text`.
    """
    path = os.path.expanduser(os.fspath(path))
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder, no config: name a YAML file in it.")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"The config file {path} does not exist: check the path.")
    if os.path.getsize(path) > MAX_BYTES:
        raise ValueError(f"{path} is larger than {MAX_BYTES >> 20} MB: that is no config.")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no UTF-8 text (see byte {error.start}): save it in that encoding."
        ) from error
    return load_yaml_text(text, path)


def load_yaml_text(text: str, source: str) -> dict[str, Any]:
    """Parse YAML whose top level is a mapping; an empty text is an empty mapping.

    Besides standard YAML, `!!python/tuple` of plain values is a tuple, and
    `!!python/object/apply:eval ["<expression>"]` is computed where the expression is plain
    arithmetic (see `dyhead.safe_io.expression`). What looks like a date is text.

    Args:
        text: the YAML.
        source: what to call it in errors, usually its path.

    Raises:
        ValueError: the text is malformed, is no mapping, is too large with its aliases written out,
            has a key twice, or any other tag (the error names source, key and tag).
    """
    try:
        loaded = _load(text, source)
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is not well-formed YAML: {error}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ValueError(f"{source} has to hold `KEY: value` lines, not a {type(loaded).__name__}.")
    return loaded


def load_yaml_with_base(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file on top of the files that its `_BASE_` names.

    `_BASE_` is a path or a list of paths (a later one wins): absolute, from ~, or relative to the
    file that names it. Mappings are merged key by key, other values are replaced.

    Raises:
        FileNotFoundError: the file or a base does not exist.
        ValueError: the bases form a circle, a mapping meets a plain value under the same key, or as
            for `load_yaml_text`.
    """
    return _load_with_base(os.path.expanduser(os.fspath(path)), ())


def file_that_sets(path: str | os.PathLike[str], key: str) -> str:
    """Name the file that decides a dotted key: `path`, or one of those that it stands on.

    Returns:
        its path, "" where none sets the key.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: as for `load_yaml_with_base`.
    """
    path = os.path.expanduser(os.fspath(path))
    own = load_yaml(path)
    bases = _pop_bases(own, path)
    if _has_key(own, key.split(".")):
        return path
    return next(filter(None, (file_that_sets(base, key) for base in reversed(bases))), "")


def bases_of(path: str | os.PathLike[str]) -> list[str]:
    """Return the paths that `_BASE_` in a file names, in its order.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: as for `load_yaml_with_base`.
    """
    path = os.path.expanduser(os.fspath(path))
    return _pop_bases(load_yaml(path), path)


def is_based_on(path: str | os.PathLike[str], base: str | os.PathLike[str]) -> bool:
    """Tell whether a file stands on another one, directly or through others.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: as for `load_yaml_with_base`.
    """
    return any(_is_same(each, base) or is_based_on(each, base) for each in bases_of(path))


def _is_same(path: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    return os.path.realpath(path) == os.path.realpath(os.path.expanduser(os.fspath(other)))


def _has_key(values: Any, parts: list[str]) -> bool:
    if not parts:
        return True
    return isinstance(values, dict) and parts[0] in values and _has_key(values[parts[0]], parts[1:])


def _pop_bases(own: dict[str, Any], path: str) -> list[str]:
    """Take `_BASE_` out of what a file holds, and return the paths that it names."""
    bases = own.pop(BASE_KEY, [])
    bases = list(bases) if isinstance(bases, list | tuple) else [bases]
    if not all(isinstance(base, str) for base in bases):
        raise ValueError(f"{BASE_KEY} in {path} has to be a path or a list of paths.")
    return [os.path.join(os.path.dirname(path), os.path.expanduser(base)) for base in bases]


def _load_with_base(path: str, descendants: tuple[str, ...]) -> dict[str, Any]:
    identity = os.path.realpath(path)
    if identity in descendants:
        circle = " -> ".join((*descendants[descendants.index(identity) :], identity))
        raise ValueError(f"{BASE_KEY} leads in a circle: {circle}.")
    own = load_yaml(path)
    merged: dict[str, Any] = {}
    for base in _pop_bases(own, path):
        _merge_into(merged, _load_with_base(base, (*descendants, identity)), path)
    _merge_into(merged, own, path)
    return merged


def _merge_into(target: dict[str, Any], overriding: dict[str, Any], source: str) -> None:
    for key, value in overriding.items():
        present = target.get(key)
        if isinstance(value, dict) and key in target:
            if not isinstance(present, dict):
                raise ValueError(f"{source}: {key} is a group of keys, but a value in its base.")
            _merge_into(present, value, source)
        else:
            target[key] = value


class _DuplicateKey(ValueError):
    pass


class _RefusedTag(Exception):
    def __init__(self, node: yaml.Node, reason: str) -> None:
        super().__init__(reason)
        self.node = node
        self.reason = reason


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with tuples, safe arithmetic, and errors that carry the node."""

    def construct_tuple(self, node: yaml.Node) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise _RefusedTag(node, "is for lists only")
        return tuple(self.construct_sequence(node, deep=True))

    def construct_expression(self, node: yaml.Node) -> Any:
        arguments = self.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else []
        if len(arguments) != 1 or not isinstance(arguments[0], str):
            raise _RefusedTag(node, 'needs the form ["<expression>"]')
        try:
            return evaluate(arguments[0])
        except ValueError as error:
            raise _RefusedTag(node, f"is only read for plain arithmetic, and {error}") from error

    def refuse(self, node: yaml.Node) -> Any:
        raise _RefusedTag(node, "is not allowed in a config")


_Loader.add_constructor(TUPLE_TAG, _Loader.construct_tuple)
_Loader.add_constructor(EVAL_TAG, _Loader.construct_expression)
for _tag in (None, *_REFUSED_TAGS):
    _Loader.add_constructor(_tag, _Loader.refuse)
# A run's folder may well be called 2026-11-27.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def _load(text: str, source: str) -> Any:
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        if _size(root, {}) > MAX_NODES:
            raise yaml.YAMLError(f"with its aliases written out it has over {MAX_NODES} values")
        _refuse_duplicates(root, source)
        return loader.construct_document(root)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except _DuplicateKey:
        raise
    except (TypeError, ValueError) as error:  # such as a key that is a list
        raise yaml.YAMLError(str(error)) from error
    except _RefusedTag as refused:
        tag = refused.node.tag.replace("tag:yaml.org,2002:", "!!")
        line = refused.node.start_mark.line + 1
        raise ValueError(
            f"{source}, line {line}: the tag {tag} of the key"
            f" {_key_of(root, refused.node)} {refused.reason}: write the value out instead."
        ) from refused
    finally:
        loader.dispose()


def _refuse_duplicates(root: yaml.Node, source: str) -> None:
    """Refuse a key that stands twice in one group: YAML would silently keep the second alone."""
    seen: set[int] = set()
    pending: list[tuple[str, yaml.Node]] = [("", root)]
    while pending:
        group, node = pending.pop()
        if id(node) not in seen:
            seen.add(id(node))
            pending += _children(node, group)
            if isinstance(node, yaml.MappingNode):
                _refuse_duplicate_names([name for name, _ in node.value], group, source)


def _refuse_duplicate_names(names: list[yaml.Node], group: str, source: str) -> None:
    lines: dict[str, int] = {}
    for name in names:
        if not isinstance(name, yaml.ScalarNode) or name.tag == _MERGE_TAG:
            continue
        line = name.start_mark.line + 1
        if name.value in lines:
            key = f"{group}.{name.value}".lstrip(".")
            raise _DuplicateKey(
                f"{source}: {key} stands twice, in lines {lines[name.value]} and {line}: join them"
                " into one."
            )
        lines[name.value] = line


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Count a node and all below it, every alias written out; one inside itself is too large."""
    if id(node) not in known:
        known[id(node)] = MAX_NODES + 1
        known[id(node)] = 1 + sum(_size(child, known) for _, child in _children(node, ""))
    return known[id(node)]


def _children(node: yaml.Node, key: str) -> list[tuple[str, yaml.Node]]:
    """Return the nodes directly below a node under a dotted key, each with its own key."""
    if isinstance(node, yaml.MappingNode):
        prefix = f"{key}." if key else ""
        return [
            (f"{prefix}{name.value}", part) for name, value in node.value for part in (name, value)
        ]
    return [(key, item) for item in node.value] if isinstance(node, yaml.SequenceNode) else []


def _key_of(root: yaml.Node | None, wanted: yaml.Node) -> str:
    """Return the dotted key under which a node stands."""
    pending: list[tuple[str, yaml.Node]] = [] if root is None else [("", root)]
    while pending:
        key, node = pending.pop()
        if node is wanted:
            return key or "(top level)"
        pending += _children(node, key)
    return "(top level)"
