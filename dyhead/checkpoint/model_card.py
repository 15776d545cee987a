"""The model card: what a checkpoint says of the detector whose weights it holds.

It lies in a `.pth` file under the key "dyhead", and in a `.safetensors` file as JSON under the same
key of the metadata. Whoever made the file wrote it: nothing in a card is trusted before
`ModelCard.from_plain` has looked at it, and its config is read as plain YAML.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from safetensors import safe_open

import dyhead
from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode
from dyhead.d2.data import MetadataCatalog
from dyhead.data.original_ids import original_category_ids
from dyhead.safe_io.load import is_safetensors_file, is_torch_file, load_checkpoint_file
from dyhead.safe_io.save import save_checkpoint_file

CARD_KEY = "dyhead"
INPUT_FORMATS = ("BGR", "RGB", "L", "YUV-BT.601")  # what Detectron2 reads images in
_MAX_TEXT = 2**20  # characters of a config
_MAX_NAME = 1000  # characters of any other text
_MAX_ENTRIES = 100_000  # of a list or mapping


@dataclass(frozen=True)
class ModelCard:
    """Describes the detector whose weights a checkpoint holds.

    Attributes:
        config: the merged config, YAML.
        class_names: in the order of the classifier; empty where unknown.
        category_ids: the data set's ids of the same classes; empty where unknown.
        dataset: name of the training set; "" where unknown.
        input_format: order of the channels, "BGR" or "RGB".
        min_size: INPUT.MIN_SIZE_TEST, pixels of the shorter side; 0 leaves images as they are.
        max_size: INPUT.MAX_SIZE_TEST, highest number of pixels of the longer side.
        versions: of the programs that wrote the file, by name.
        iteration: training steps done; None where unknown.
        scores: of these very weights, such as "bbox/AP" in percent, and as "best/bbox/AP" the best
            of the run so far; empty where nothing was evaluated.
    """

    config: str
    class_names: tuple[str, ...] = ()
    category_ids: tuple[int | str, ...] = ()
    dataset: str = ""
    input_format: str = "BGR"
    min_size: int = 800
    max_size: int = 1333
    versions: dict[str, str] = field(default_factory=dict)
    iteration: int | None = None
    scores: dict[str, float] = field(default_factory=dict)

    def as_plain(self) -> dict[str, Any]:
        """Return the card as plain containers, which `torch.save` and JSON can keep."""
        plain = asdict(self)
        return {
            **plain,
            "class_names": list(self.class_names),
            "category_ids": list(self.category_ids),
        }

    @classmethod
    def from_plain(cls, data: Any) -> "ModelCard":
        """Check what a file holds and make a card of it; unknown keys are left out.

        Raises:
            ValueError: it is no card; the message names the entry.
        """
        _require(isinstance(data, Mapping), "is no mapping")
        _require("config" in data, "has no 'config'")
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        for name, value in known.items():
            _require(_CHECKS[name](value), f"has no usable {name!r}")
        for name in ("class_names", "category_ids"):
            known[name] = tuple(known.get(name, ()))
        card = cls(**known)
        fits = len(card.category_ids) in (0, len(card.class_names))
        _require(fits, "has another number of 'category_ids' than of 'class_names'")
        return replace(card, scores={name: float(score) for name, score in card.scores.items()})


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise ValueError(f"its model card {fault}")


def _is_text(value: Any, longest: int = _MAX_NAME) -> bool:
    return isinstance(value, str) and len(value) <= longest


def _is_id(value: Any) -> bool:
    return type(value) is int or _is_text(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) <= _MAX_ENTRIES


def _is_mapping(value: Any) -> bool:
    is_small = isinstance(value, dict) and len(value) <= _MAX_ENTRIES
    return is_small and all(_is_text(name) for name in value)


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


_CHECKS = {
    "config": lambda value: _is_text(value, _MAX_TEXT),
    "class_names": lambda value: _is_list(value) and all(map(_is_text, value)),
    "category_ids": lambda value: _is_list(value) and all(map(_is_id, value)),
    "dataset": _is_text,
    "input_format": lambda value: isinstance(value, str) and value in INPUT_FORMATS,
    "min_size": _is_count,
    "max_size": _is_count,
    "versions": lambda value: _is_mapping(value) and all(map(_is_text, value.values())),
    "iteration": lambda value: value is None or _is_count(value),
    "scores": lambda value: _is_mapping(value) and all(map(_is_finite, value.values())),
}


def describe(
    cfg: CfgNode, *, iteration: int | None = None, scores: Mapping[str, float] | None = None
) -> ModelCard:
    """Return the card of a detector trained with `cfg`, whose first training set is registered.

    Args:
        cfg: the merged config.
        iteration: training steps done.
        scores: see `ModelCard`; those that are not finite are left out.
    """
    dataset = next(iter(cfg.DATASETS.TRAIN), "")
    names, ids = metadata_classes(dataset) if dataset else ((), ())
    finite = {name: float(score) for name, score in (scores or {}).items() if math.isfinite(score)}
    return ModelCard(
        config=cfg.dump(),
        class_names=names,
        category_ids=ids,
        dataset=dataset,
        input_format=cfg.INPUT.FORMAT,
        min_size=cfg.INPUT.MIN_SIZE_TEST,
        max_size=cfg.INPUT.MAX_SIZE_TEST,
        versions={"dyhead": dyhead.__version__, "torch": str(torch.__version__), "host": HOST},
        iteration=iteration,
        scores=finite,
    )


def metadata_classes(dataset: str) -> tuple[tuple[str, ...], tuple[int | str, ...]]:
    """Class names and category ids in the metadata of a data set, both in the order of the classes.

    The ids are those of the data set's file. Either is empty where the metadata does not tell it,
    and so are ids that are neither whole numbers nor text.
    """
    metadata = MetadataCatalog.get(dataset)
    names = tuple(str(name) for name in metadata.get("thing_classes") or ())
    id_map: dict[Any, int] = metadata.get("thing_dataset_id_to_contiguous_id") or {}
    original = original_category_ids(dataset)
    ids = [original.get(each, each) for each in sorted(id_map, key=lambda each: id_map[each])]
    is_usable = len(ids) == len(names) and all(map(_is_id, ids))
    return names, tuple(ids) if is_usable else ()


def read_card(path: str | os.PathLike[str]) -> ModelCard | None:
    """Read the card of a `.pth` or `.safetensors` file; the weights stay on the disk.

    Returns:
        None for a file without a card, as other codes and older versions write them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file or its card is damaged; the message names the file.
    """
    path = os.fspath(path)
    plain = _read_plain(path)
    if plain is None:
        return None
    try:
        return ModelCard.from_plain(plain)
    except ValueError as error:
        raise ValueError(
            f"Checkpoint {path} is damaged, for {error}: `dyhead convert --strip` writes its"
            " weights without the card, and the config is named beside them then."
        ) from error


def _read_plain(path: str) -> Any:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"Checkpoint {path} does not exist: check the path.")
    if is_torch_file(path):
        return load_checkpoint_file(path, memory_map=True).get(CARD_KEY)
    return _decode(read_metadata(path).get(CARD_KEY)) if is_safetensors_file(path) else None


def read_metadata(path: str) -> dict[str, str]:
    """Return the metadata of a safetensors file.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except Exception as error:  # safetensors has errors of its own
        raise ValueError(f"Checkpoint {path} is damaged: {error}") from error


def _decode(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text  # no mapping: the check of the card says so


def replace_card(path: str | os.PathLike[str], card: ModelCard) -> None:
    """Give a `.pth` file another card; all else in it stays as it is.

    Raises:
        OSError: the file cannot be written; the old one stays.
        ValueError: the file is damaged.
    """
    save_checkpoint_file({**load_checkpoint_file(path), CARD_KEY: card.as_plain()}, path)
