"""Builds a ready detector from a config and weights; every command that detects uses it.

Whatever detects goes through here: evaluation, pseudo-labels, prediction, export and
`DefaultPredictor`. Training builds its model elsewhere (`dyhead.engine.Trainer`), since it may
start from a part of the weights.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.checkpoint.find import find_checkpoint, load_own_config
from dyhead.checkpoint.model_card import ModelCard, read_card
from dyhead.checkpoint.pixels import settle_pixels
from dyhead.checkpoint.whole_checkpointer import WholeCheckpointer
from dyhead.config import load_config
from dyhead.config.check import check_config
from dyhead.config.load import with_project_keys
from dyhead.d2.config import CfgNode
from dyhead.data.known_classes import Classes, classes_of, known_classes, match_classes
from dyhead.data.num_classes import get_num_classes, num_classes_key, set_num_classes
from dyhead.engine.devices import plan_devices
from dyhead.engine.precision import settle_precision
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError, user_errors
from dyhead.evaluation.inference_optimization import optimize_for_inference
from dyhead.safe_io.addresses import local_path
from dyhead.safe_io.checkpointer import split_query

__all__ = [
    "ReadyDetector",
    "build_detector",
    "find_checkpoint",
    "load_detector",
    "prepare_detector",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadyDetector:
    """A detector with all of its weights, in the form in which it is fastest to use.

    Attributes:
        cfg: frozen, as the model was built; MODEL.DEVICE is what this machine has.
        model: in evaluation mode, its parameters without gradients. It maps Detectron2's
            `list[dict]` (`image` (C, H, W), `height`, `width`) to `[{"instances": Instances}]`,
            whose `pred_classes` are indices of `class_names`. Batches may mix sizes.
        class_names: empty where neither checkpoint nor data sets tell them.
        category_ids: of the same classes in the data set's json; empty where unknown.
        source: path of the checkpoint; "" for random weights.
        card: the checkpoint's own, None for a file without one.
    """

    cfg: CfgNode
    model: nn.Module
    class_names: tuple[str, ...]
    category_ids: tuple[int | str, ...]
    source: str
    card: ModelCard | None = None


def load_detector(
    source: str | os.PathLike[str],
    config: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    *,
    device: str | torch.device | None = None,
    allow_partial: bool = False,
) -> ReadyDetector:
    """Make a detector of a checkpoint.

    Args:
        source: a run's folder, a checkpoint, or its address; see `find_checkpoint`.
        config: a YAML file or a packaged config's name; None takes the checkpoint's own config, or
            else the config.yaml beside the file.
        overrides: KEY VALUE pairs on top, `["TEST.DETECTIONS_PER_IMAGE", "300"]`.
        device: such as "cuda", "cuda:1" or "cpu"; None takes a GPU where there is one.
        allow_partial: see `prepare_detector`.

    Raises:
        UserError: there is no such file or config, or as for `prepare_detector`.
    """
    path, beside = find_checkpoint(source)
    if config is not None:
        cfg, explicit_keys = load_config(config, overrides)
    else:
        cfg = load_own_config(path, beside, overrides)
        explicit_keys = set(overrides[0::2])
    cfg.MODEL.WEIGHTS = str(path)
    if device is not None or "MODEL.DEVICE" not in explicit_keys:
        cfg.MODEL.DEVICE = _device(None if device is None else str(device))
    return prepare_detector(cfg, allow_partial=allow_partial)


def _device(requested: str | None) -> str:
    if requested is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    plan = plan_devices(requested, is_explicit=True, num_gpus=1)
    if requested.startswith("cuda") and plan.device == "cpu":
        raise UserError(f"The device {requested!r} was asked for, but no GPU is found: use 'cpu'.")
    return requested


def prepare_detector(
    cfg: CfgNode, *, dataset: str | None = None, allow_partial: bool = False
) -> ReadyDetector:
    """Make a detector of MODEL.WEIGHTS and of a config that is already merged.

    Args:
        cfg: not changed. Where its number of classes is the default, checkpoint or data sets tell
            it; MODEL.DEVICE becomes the CPU where there is no GPU.
        dataset: a registered data set to whose classes the predictions are brought; None keeps the
            checkpoint's.
        allow_partial: go on with a warning where weights are missing, have another shape or are not
            finite, or where there are none at all. A file of which hardly anything fits is refused
            all the same.

    Raises:
        UserError: the config or the file cannot be used, the weights are not those of a whole
            detector of this config, or the data set has other classes.
    """
    cfg = with_project_keys(cfg)
    check_config(cfg)
    cfg = settle_pixels(cfg)
    source, card = _look_at_weights(cfg, allow_partial)
    trained = Classes(card.class_names, card.category_ids) if card else Classes()
    wanted = classes_of(dataset) if dataset else Classes()
    order = None
    if trained.names and wanted.names:
        names = {"source": source, "dataset": dataset or "", "match": cfg.TEST.MATCH_CLASSES}
        order = match_classes(trained.names, wanted.names, **names)
    classes = _settle_classes(cfg, source, trained, wanted)
    model = build_detector(cfg)
    if source:
        checkpointer = WholeCheckpointer(model, cfg, source=source, allow_partial=allow_partial)
        with user_errors(source):
            checkpointer.load(cfg.MODEL.WEIGHTS, checkpointables=[])
    optimize_for_inference(cfg, model)
    if order is not None:
        _reorder_classes(model, order, source, dataset or "")
    cfg.freeze()
    return ReadyDetector(cfg, model.requires_grad_(False), *classes, source=source, card=card)


def build_detector(cfg: CfgNode) -> nn.Module:
    """Build a config's detector with random weights, in evaluation mode, on this machine's device.

    Args:
        cfg: MODEL.DEVICE and, for a detector that loads its weights, MODEL.TIMM.PRETRAINED are
            changed in place.

    Raises:
        UserError: the config describes no detector that can be built, or none for this machine.
    """
    plan = plan_devices(cfg.MODEL.DEVICE, is_explicit=True, num_gpus=1)
    if plan.device != cfg.MODEL.DEVICE:
        logger.info(plan.message)
        cfg.MODEL.DEVICE = plan.device
    settle_precision(cfg, is_training=False)
    if cfg.MODEL.WEIGHTS:
        cfg.MODEL.TIMM.PRETRAINED = False  # nothing is downloaded to be overwritten
    return Trainer.build_model(cfg).eval()


def _look_at_weights(cfg: CfgNode, allow_partial: bool) -> tuple[str, ModelCard | None]:
    """Find the local file of MODEL.WEIGHTS, and read its card."""
    if cfg.MODEL.WEIGHTS:
        with user_errors():
            path = local_path(split_query(cfg.MODEL.WEIGHTS)[0])
            return path, read_card(path)
    if not allow_partial:
        raise UserError(
            'MODEL.WEIGHTS is "", and random weights detect nothing: name a trained checkpoint,'
            " such as MODEL.WEIGHTS output/own_dataset/model_final.pth."
        )
    logger.warning('MODEL.WEIGHTS is "": the weights are random.')
    return "", None


def _settle_classes(cfg: CfgNode, source: str, trained: Classes, wanted: Classes) -> Classes:
    """Set the number of classes, and return the classes, empty where they are not known.

    Raises:
        UserError: the config sets another number than the checkpoint has.
    """
    current = get_num_classes(cfg)
    is_free = current in (None, get_num_classes(_defaults_for(cfg)))
    if trained.names and not is_free and current != len(trained.names):
        raise UserError(
            f"{num_classes_key(cfg)} is {current}, but {source} has {len(trained.names)} classes:"
            " leave it out to have it filled."
        )
    classes = wanted if wanted.names else trained if trained.names else known_classes(cfg)
    if not is_free and current != len(classes.names):
        return Classes()
    if classes.names:
        set_num_classes(cfg, len(classes.names))
    return _with_ids(classes, trained)


def _defaults_for(cfg: CfgNode) -> CfgNode:
    """Build the default config for the architecture of `cfg`."""
    defaults, _ = load_config("")
    defaults.MODEL.META_ARCHITECTURE = cfg.MODEL.META_ARCHITECTURE
    return defaults


def _with_ids(classes: Classes, trained: Classes) -> Classes:
    """Return the classes with the checkpoint's category ids where the data set tells none."""
    if classes.category_ids or not trained.category_ids or classes.names != trained.names:
        return classes
    return trained


def _reorder_classes(model: nn.Module, order: Sequence[int], source: str, dataset: str) -> None:
    """Let the model name its classes by their indices in a data set of another order."""
    logger.warning(
        "%s has the classes of %r in another order: its predictions are brought to the data set's.",
        source,
        dataset,
    )
    model.register_buffer("_class_order", torch.tensor(order), persistent=False)
    model.to(next(model.parameters()).device)
    model.register_forward_hook(_rename_classes)


def _rename_classes(model: Any, inputs: Any, outputs: list[dict[str, Any]]) -> None:
    for instances in (output["instances"] for output in outputs if "instances" in output):
        instances.pred_classes = model._class_order[instances.pred_classes]
