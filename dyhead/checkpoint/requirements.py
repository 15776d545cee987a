"""Checks that imported weights mean under a config what they meant where they were trained."""

import logging
from collections.abc import Mapping
from typing import Any

from dyhead.checkpoint.import_report import ImportReport
from dyhead.checkpoint.importers import Imported
from dyhead.checkpoint.importers.timm import own_names
from dyhead.config.load import value_of
from dyhead.d2.config import CfgNode

logger = logging.getLogger(__name__)

_TOLERANCE = 0.1  # of pixel statistics, which differ in their last digits


def check_network(cfg: CfgNode, imported: Imported, report: ImportReport) -> None:
    """Refuse weights of another network of timm that fit in part alone, as by chance.

    Raises:
        ValueError: see above.
    """
    key = "MODEL.TIMM.NAME"
    is_whole = not (report.unexpected or report.other_shape or own_names(report.missing))
    if not is_whole and key in (wrong := disagreements(cfg, imported.requirements)):
        raise ValueError(
            f"The weights of {imported.source} are not those of {key} {cfg.MODEL.TIMM.NAME}: set it"
            f" to {wrong[key]}, or MODEL.WEIGHTS to weights of {cfg.MODEL.TIMM.NAME}."
        )


def check_requirements(cfg: CfgNode, imported: Imported) -> None:
    """Compare the config with what the weights need.

    A backbone adapts to other settings in training, so it only gets a warning.

    Raises:
        ValueError: a detector would compute something else than where it was trained.
    """
    wrong = disagreements(cfg, imported.requirements)
    if not wrong:
        return
    overrides = " ".join(f"{key} {_as_override(value)}" for key, value in wrong.items())
    if imported.is_backbone:
        logger.warning(
            "The weights of %s were trained with other settings than the config has: %s",
            imported.source,
            overrides,
        )
        return
    raise ValueError(
        f"The weights of {imported.source} need other settings than the config has: set"
        f" {overrides} or, to go on training them under the config's, bring them to the project's"
        " own format by `dyhead convert`, which lifts this check."
    )


def disagreements(cfg: CfgNode, requirements: Mapping[str, Any]) -> dict[str, Any]:
    """Return the requirements that `cfg` does not meet, {key: required value}.

    Keys of a part that the config does not use (a ResNet's beside Swin) are left out.
    """
    return {
        key: value
        for key, value in requirements.items()
        if not _agree(_given(cfg, key), value) and _is_used(cfg, key)
    }


def _given(cfg: CfgNode, key: str) -> Any:
    """Return the value of a key; of a model's name without its tag, which tells of weights."""
    value = value_of(cfg, key)
    return value.partition(".")[0] if key == "MODEL.TIMM.NAME" else value


def _is_used(cfg: CfgNode, key: str) -> bool:
    backbone = cfg.MODEL.BACKBONE.NAME
    if key.startswith("MODEL.RESNETS."):
        return "resnet" in backbone
    if key.startswith("MODEL.TIMM."):
        return "timm" in backbone
    if key.startswith(("MODEL.DYHEAD.", "MODEL.FPN.RELU_BEFORE_P7")):
        return "dyhead" in backbone
    return True


def _agree(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_agree, ours, theirs))
    if isinstance(theirs, float):
        return abs(ours - theirs) <= _TOLERANCE
    return bool(ours == theirs)


def _as_override(value: Any) -> str:
    return f'"{value}"' if isinstance(value, list) else str(value)
