"""Builds the detector that labels, and makes sure that it was trained."""

import logging
from typing import Any

from torch import nn

from dyhead.checkpoint import SafeCheckpointer
from dyhead.d2.config import CfgNode
from dyhead.engine.devices import plan_devices
from dyhead.engine.precision import build_test_precision, settle_precision
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError, user_errors
from dyhead.modeling.tta import build_multi_scale_testing
from dyhead.pseudo_labels.images import UNREADABLE

logger = logging.getLogger(__name__)

_MAX_NAMED = 3


def build_trained_detector(cfg: CfgNode, explicit_keys: set[str]) -> nn.Module:
    """The detector of `cfg` with MODEL.WEIGHTS; for multi-scale testing if TEST.AUG.ENABLED.

    Args:
        cfg: MODEL.DEVICE is changed to what this machine has.
        explicit_keys: the keys that the user set.

    Returns:
        a model for batches of `build_image_loader`; it answers None for an unreadable image.

    Raises:
        UserError: there are no weights, or they leave a part of the detector random.
    """
    if not cfg.MODEL.WEIGHTS:
        raise UserError(
            'MODEL.WEIGHTS is "", and random weights make no labels: name a trained checkpoint,'
            " such as MODEL.WEIGHTS output/own_dataset/model_final.pth."
        )
    plan = plan_devices(cfg.MODEL.DEVICE, "MODEL.DEVICE" in explicit_keys, num_gpus=1)
    cfg.MODEL.DEVICE = plan.device
    if plan.message:
        logger.info(plan.message)
    settle_precision(cfg, is_training=False)
    model = Trainer.build_model(cfg)
    with user_errors():
        _WholeCheckpointer(model, cfg=cfg).load(cfg.MODEL.WEIGHTS)
    with user_errors():
        model = build_test_precision(cfg, build_multi_scale_testing(cfg, model))
    return _ReadableOnly(model).eval()


class _WholeCheckpointer(SafeCheckpointer):
    """Refuses a backbone's weights alone: training may start from them, labels may not."""

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        incompatible = super()._load_model(checkpoint)
        missing = set(incompatible.missing_keys)
        random = [name for name, _ in self.model.named_parameters() if name in missing]
        if random:
            named = ", ".join(random[:_MAX_NAMED]) + (", ..." if len(random) > _MAX_NAMED else "")
            raise UserError(
                f"MODEL.WEIGHTS leaves {len(random)} weights of the detector random ({named}), and"
                " random weights make no labels: name the checkpoint of a detector trained with"
                " this config."
            )
        return incompatible


class _ReadableOnly(nn.Module):
    """Passes a model the images that could be read."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
        """The model's outputs, with None in the places of unreadable images."""
        readable = [image for image in batch if UNREADABLE not in image]
        outputs = iter(self.model(readable) if readable else [])
        return [None if UNREADABLE in image else next(outputs) for image in batch]
