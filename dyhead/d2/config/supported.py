"""Refusing options that the embedded host does not serve, instead of ignoring them."""

import functools
from collections.abc import Container
from typing import Any

from .config import CfgNode, get_cfg

# Only keys that switch something on: what belongs to it needs no entry of its own.
NOT_SERVED = {
    "MODEL.MASK_ON": "instance masks",
    "MODEL.KEYPOINT_ON": "keypoints",
    "MODEL.LOAD_PROPOSALS": "proposals computed in advance",
    "TEST.PRECISE_BN.ENABLED": "precise batch norm",
    "VIS_PERIOD": "drawing training inputs",
}
# Switches that only some architectures look at: whoever builds one asks about them.
NOT_SERVED_IN_PARTS = {
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS": "the federated loss",
}
# Detectron2's own registered parts that are missing here, and the part that is there instead.
NOT_SERVED_NAMES = {
    "MODEL.META_ARCHITECTURE": ({"PanopticFPN", "SemanticSegmentor"}, "GeneralizedRCNN"),
    "MODEL.PROPOSAL_GENERATOR.NAME": ({"RRPN", "PrecomputedProposals"}, "RPN"),
    "MODEL.ROI_HEADS.NAME": (
        {"CascadeROIHeads", "PointRendROIHeads", "RROIHeads", "Res5ROIHeads"},
        "StandardROIHeads",
    ),
}


def check_supported(cfg: CfgNode) -> None:
    """Make sure that the embedded host serves every option that a configuration switches on.

    Raises:
        ValueError: it does not; the message names the key, its value and the way out.
    """
    check_switched_off(cfg, *NOT_SERVED)


def check_switched_off(cfg: CfgNode, *keys: str) -> None:
    """Make sure that options which the embedded host lacks have their default values.

    Raises:
        ValueError: one has another value; the message names the key, its value and the way out.
    """
    defaults = get_cfg()
    for key in keys:
        value, default = _value(cfg, key), _value(defaults, key)
        if value != default:
            feature = NOT_SERVED.get(key) or NOT_SERVED_IN_PARTS[key]
            raise ValueError(
                f"{key}={value!r} asks for {feature}, which the embedded host does not have: set it"
                f" to {default!r}, or run with genuine Detectron2."
            )


def check_part(cfg: CfgNode, key: str, registered: Container[str]) -> None:
    """Make sure that `cfg` does not name a part of Detectron2 that the embedded host lacks.

    Args:
        cfg: the whole config.
        key: a key of `NOT_SERVED_NAMES`.
        registered: the registry; whoever registers a part of that name serves it.

    Raises:
        ValueError: it does; the message names the key, its value and the way out.
    """
    name = _value(cfg, key)
    lacking, served = NOT_SERVED_NAMES[key]
    if name in lacking and name not in registered:
        raise ValueError(
            f"{key}={name!r} is a part of Detectron2 that the embedded host does not have: set it"
            f" to {served!r}, or run with genuine Detectron2."
        )


def _value(cfg: CfgNode, key: str) -> Any:
    return functools.reduce(getattr, key.split("."), cfg)
