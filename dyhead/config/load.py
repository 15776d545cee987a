"""Loads a config, safely.

`load_config` runs no code that a YAML file may hold, on either host (Detectron2's own
`merge_from_file` may), and answers unknown keys with the nearest valid ones.
"""

import ast
import difflib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from dyhead.config.defaults import add_dyhead_config, add_missing_keys
from dyhead.config.find import find_config
from dyhead.config.pixel_keys import refuse_overwritten_pixels
from dyhead.config.range_checks import RANGES, describe_refusal
from dyhead.d2.config import CfgNode, get_cfg
from dyhead.errors import UserError, user_errors
from dyhead.safe_io.yaml import file_that_sets, load_yaml_text, load_yaml_with_base

logger = logging.getLogger(__name__)

# Official keys that never had an effect: ATSS derives its IoU thresholds from the candidates.
_KEYS_WITHOUT_EFFECT = ("MODEL.ATSS.IOU_THRESHOLDS", "MODEL.ATSS.IOU_LABELS")
COMMAND_LINE = "the command line"
_KEYS_OF_ENTRIES = ("DATASETS.SOURCES", "DATASETS.COCO_JSON")
# Values of keys that are empty by default, as they are written on a command line.
_EXAMPLES = {
    "DATASETS.SOURCES": [["my_train", "data/train.json", "data/images"]],
    "DATASETS.COCO_JSON": [["my_train", "data/train.json", "data/images"]],
    "DATASETS.TRAIN": ("my_train",),
    "DATASETS.TEST": ("my_test",),
}


def load_config(
    config_file: str | os.PathLike[str], opts: Sequence[str] = ()
) -> tuple[CfgNode, set[str]]:
    """Build the config: defaults, then `config_file` with its bases, then `opts`.

    Args:
        config_file: a YAML file or a packaged config's name (see `find_config`), or "" for the
            defaults alone.
        opts: KEY VALUE pairs as they stand on a command line, `["SOLVER.BASE_LR", "0.01"]`.

    Returns:
        the config, not frozen, and the dotted names of the keys that the file or `opts` set.

    Raises:
        UserError: the file is missing or unsafe, a key is unknown, a value is not in its range, or
            MODEL.PIXELS_FROM_WEIGHTS would overwrite one.
    """
    cfg = _defaults()
    path = str(find_config(config_file)) if config_file else ""
    in_file = _merge_file(cfg, path) if path else set()
    overridden = _merge_opts(cfg, opts)
    if cfg.MODEL.PIXELS_FROM_WEIGHTS:
        refuse_overwritten_pixels(path, overridden)
    return cfg, in_file | overridden


def load_config_text(text: str, source: str, opts: Sequence[str] = ()) -> CfgNode:
    """Build the config of a YAML text such as a checkpoint's; it names no other file.

    Args:
        text: the YAML.
        source: what to call it in errors.
        opts: as for `load_config`.

    Raises:
        UserError: as for `load_config`.
    """
    cfg = _defaults()
    with user_errors():
        values = load_yaml_text(text, source)
    _merge_values(cfg, values, source)
    _merge_opts(cfg, opts)
    return cfg


def with_project_keys(cfg: CfgNode) -> CfgNode:
    """Copy `cfg`, not frozen, and give the keys of the project that it lacks their defaults.

    A plain Detectron2 config may then be used where the project's keys are read.
    """
    completed = cfg.clone()
    completed.defrost()
    add_missing_keys(completed, _defaults())
    return completed


def _defaults() -> CfgNode:
    """Build a config of every key of the host and of the project with its default."""
    cfg = get_cfg()
    add_dyhead_config(cfg)
    return cfg


def _merge_file(cfg: CfgNode, config_file: str) -> set[str]:
    with user_errors():
        values = load_yaml_with_base(config_file)
    return _merge_values(cfg, values, config_file, partial(file_that_sets, config_file))


def _merge_values(
    cfg: CfgNode,
    values: dict[str, Any],
    source: str,
    file_of: Callable[[str], str] = lambda key: "",
) -> set[str]:
    """Merge the values of a source; of several files `file_of` names the one that sets a key."""
    _drop_keys_without_effect(values, source)
    if values.get("VERSION", cfg.VERSION) != cfg.VERSION:
        raise UserError(
            f"{source}: VERSION {values['VERSION']} configs are not supported: rename its keys"
            f" to those of VERSION {cfg.VERSION}."
        )
    items = dict(_leaf_items(values))
    check_keys(cfg, set(items), source)
    for key, value in items.items():
        _merge_value(cfg, key, value, lambda key: file_of(key) or source)
    return set(items)


def _drop_keys_without_effect(values: dict[str, Any], source: str) -> None:
    """Take keys out of a file that the official code wrote but never read."""
    model = values.get("MODEL")
    atss = model.get("ATSS") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(atss, dict) or not atss:
        return
    for key in _KEYS_WITHOUT_EFFECT:
        name = key.rpartition(".")[2]
        if name in atss:
            del atss[name]
            logger.warning("%s: %s has no effect on ATSS and is left out.", source, key)
    if not atss:  # an empty group would be taken for a value
        del model["ATSS"]
    if not model:
        del values["MODEL"]


def _merge_opts(cfg: CfgNode, opts: Sequence[str]) -> set[str]:
    if len(opts) % 2:
        raise UserError(
            f"Overrides come in pairs, KEY VALUE (not KEY=VALUE): {opts[-1]!r} has no partner."
        )
    keys = set(opts[0::2])
    check_keys(cfg, keys, COMMAND_LINE)
    for key, value in zip(opts[0::2], opts[1::2], strict=True):
        _merge_value(cfg, key, value, lambda _: COMMAND_LINE)
    return keys


def _merge_value(cfg: CfgNode, key: str, value: Any, source_of: Callable[[str], str]) -> None:
    group, _, name = key.rpartition(".")
    node = value_of(cfg, group) if group else cfg
    try:
        decoded = _decode(key, value, node[name])
        node[name] = _checked(key, decoded, node[name])
    except _Refused as refused:
        source = source_of(key)
        example = _EXAMPLES.get(key, node[name]) if source == COMMAND_LINE else None
        raise UserError(describe_refusal(key, refused.value, source, example)) from None


class _Refused(Exception):
    """A value that a key cannot have."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


def _decode(key: str, value: Any, current: Any) -> Any:
    """Read text as one of Python's literals, as Detectron2 does, except where text is wanted.

    On the command line data sets may be written without quotes, as in YAML.
    """
    if not isinstance(value, str):
        return value
    if key in _KEYS_OF_ENTRIES:
        try:
            return load_yaml_text(f"entries: {value}", key)["entries"]
        except ValueError:
            raise _Refused(value) from None
    try:
        decoded = ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value
    return value if isinstance(current, str) and not isinstance(decoded, str) else decoded


def _checked(key: str, value: Any, current: Any) -> Any:
    """Return a value in the type that its key has, if it is in the key's range."""
    if key in RANGES and not RANGES[key].accepts(value):
        raise _Refused(value)
    if isinstance(current, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(current, list) and isinstance(value, tuple):
        return list(value)
    if isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if current is not None and value is not None and type(value) is not type(current):
        raise _Refused(value)
    return value


def leaf_keys(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the dotted names of all keys of a config or a YAML file, without those of groups."""
    return (key for key, _ in _leaf_items(values))


def _leaf_items(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values; an empty group is a value, which no key may have."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaf_items(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def value_of(cfg: CfgNode, name: str) -> Any:
    """Return the value of a dotted key."""
    value: Any = cfg
    for part in name.split("."):
        value = value[part]
    return value


def check_keys(cfg: CfgNode, keys: set[str], source: str) -> None:
    """Check that a config has these keys.

    Raises:
        UserError: it lacks some; the message begins with `source` and has the nearest ones.
    """
    valid = sorted(leaf_keys(cfg))
    unknown = sorted(keys.difference(valid))
    if unknown:
        answers = " ".join(_answer_unknown_key(key, valid) for key in unknown)
        raise UserError(f"{source}: {answers}")


def _answer_unknown_key(key: str, valid: Sequence[str]) -> str:
    """Say in one sentence what to write instead of `key`."""
    if key in _KEYS_WITHOUT_EFFECT:
        return f"{key} has no effect on ATSS: remove it."
    if members := [name for name in valid if name.startswith(f"{key}.")]:
        return f"{key} is a group of keys: set one of them, such as {members[0]}."
    return f"unknown key {key}, did you mean {' or '.join(_nearest_keys(key, valid))}?"


def _nearest_keys(key: str, valid: Sequence[str], count: int = 3) -> list[str]:
    """Return the valid keys that look most like `key`, by whole name or else by its last part."""
    names = {name.upper(): name for name in valid}
    found = difflib.get_close_matches(key.upper(), names, count, cutoff=0.75)
    if not found:
        last_parts = {name.rpartition(".")[2]: name for name in names}
        last_part = key.upper().rpartition(".")[2]
        near = difflib.get_close_matches(last_part, last_parts, count, cutoff=0.7)
        found = [last_parts[part] for part in near]
    if not found:
        found = difflib.get_close_matches(key.upper(), names, count, cutoff=0.0)
    return [names[name] for name in found]
