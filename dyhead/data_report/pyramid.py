"""Compares boxes, in pictures as they are resized for training, with the levels of a pyramid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import dyhead.modeling  # noqa: F401  registers the backbones
from dyhead.d2.config import CfgNode
from dyhead.d2.modeling.backbone import build_backbone
from dyhead.data.model_input import resized_size
from dyhead.data.num_classes import num_classes_key
from dyhead.data_report.statistics import Boxes, Histogram, count_sides
from dyhead.errors import user_errors

_CELLS_OF_AN_OBJECT = 4  # as RetinaNet's anchors and the points of RepPoints on their level


@dataclass(frozen=True)
class Level:
    """A level of the pyramid that a detector reads.

    Attributes:
        name: such as "p3".
        stride: pixels of the resized picture from one cell to the next.
        object_side: pixels; the side of the objects that it suits best.
    """

    name: str
    stride: int
    object_side: float


@dataclass(frozen=True)
class Pyramid:
    """The levels that a config's detector reads, finest first, and its resizing in training."""

    config: str
    levels: Sequence[Level]
    min_size: int  # pixels of the shorter side, the middle of those to choose from; 0: unchanged
    max_size: int  # pixels of the longer side
    max_objects: int  # TEST.DETECTIONS_PER_IMAGE


@dataclass(frozen=True)
class LevelCounts:
    """The numbers of boxes after resizing: by side, by the level that suits, and too small ones."""

    sides: Histogram
    levels: Histogram
    below_stride: np.ndarray  # (n,) indices of boxes smaller than a cell of the finest level


def read_pyramid(config: str, cfg: CfgNode) -> Pyramid:
    """Read the levels of a config's detector from its backbone.

    Args:
        config: its name or file, for the report.
        cfg: the config.

    Raises:
        UserError: the config describes no backbone that can be built.
    """
    with user_errors(config):
        shapes = build_backbone(cfg).output_shape()
    names = _read_features(cfg) or list(shapes)
    strides = [int(shapes[name].stride or 1) for name in names]
    levels = [
        Level(name, stride, side)
        for name, stride, side in zip(names, strides, _object_sides(cfg, strides), strict=True)
    ]
    sizes, inputs = cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT
    min_size = int(np.median(sizes))
    return Pyramid(config, levels, min_size, inputs.MAX_SIZE_TRAIN, cfg.TEST.DETECTIONS_PER_IMAGE)


def count_levels(content: Mapping[str, Any], boxes: Boxes, pyramid: Pyramid) -> LevelCounts:
    """Count the boxes by their side after resizing, and by the level that suits them best.

    Args:
        content: a checked data set in COCO's form.
        boxes: its boxes.
        pyramid: of the config that is looked at.
    """
    sides = boxes.sides * _zooms(content["images"], pyramid)[boxes.images]
    wanted = np.array([level.object_side for level in pyramid.levels])
    limits = np.sqrt(wanted[:-1] * wanted[1:])  # the middle of two octaves
    counts = np.bincount(np.searchsorted(limits, sides), minlength=len(wanted))
    names = [f"{level.name}, stride {level.stride}" for level in pyramid.levels]
    too_small = np.flatnonzero(sides < pyramid.levels[0].stride)
    return LevelCounts(count_sides(sides), Histogram(names, counts.tolist()), too_small)


def _read_features(cfg: CfgNode) -> list[str]:
    """Return the names of the levels that the detector reads; [] where its keys do not tell."""
    if cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN":
        return list(cfg.MODEL.RPN.IN_FEATURES)
    section = num_classes_key(cfg).split(".")[1]
    return list(cfg.MODEL.get(section, {}).get("IN_FEATURES", []))


def _object_sides(cfg: CfgNode, strides: Sequence[int]) -> list[float]:
    """Return the sides of the levels' anchors, or 4 strides for detectors without anchors."""
    section = num_classes_key(cfg).split(".")[1]
    sizes = cfg.MODEL.ANCHOR_GENERATOR.SIZES
    if section in ("FCOS", "REPPOINTS") or len(sizes) != len(strides):
        return [float(_CELLS_OF_AN_OBJECT * stride) for stride in strides]
    return [float(np.exp(np.mean(np.log(level)))) for level in sizes]


def _zooms(images: Sequence[Mapping[str, Any]], pyramid: Pyramid) -> np.ndarray:
    """Return the factor from each picture's pixels to those of the resized one, (N,)."""
    by_size: dict[tuple[int, int], float] = {}
    for image in images:
        size = (image["height"], image["width"])
        if size not in by_size:
            resized = resized_size(*size, pyramid.min_size, pyramid.max_size)
            by_size[size] = max(resized) / max(size)
    return np.array([by_size[image["height"], image["width"]] for image in images])
