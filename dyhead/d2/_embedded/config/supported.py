"""Refusing options that the embedded host does not serve, instead of ignoring them."""

import functools
from typing import Any

from .config import CfgNode, get_cfg

# Only keys that switch something on: what belongs to it needs no entry of its own.
NOT_SERVED = {
    "MODEL.MASK_ON": "instance masks",
    "MODEL.KEYPOINT_ON": "keypoints",
    "MODEL.LOAD_PROPOSALS": "proposals computed in advance",
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": "deformable convolution in the ResNet",
    "TEST.AUG.ENABLED": "augmentation at test time",
    "TEST.PRECISE_BN.ENABLED": "precise batch norm",
    "VIS_PERIOD": "drawing training inputs",
}


def check_supported(cfg: CfgNode) -> None:
    """Make sure that the embedded host serves every option that a configuration switches on.

    Raises:
        ValueError: it does not; the message names the key, its value and the way out.
    """
    defaults = get_cfg()
    for key, feature in NOT_SERVED.items():
        value, default = _value(cfg, key), _value(defaults, key)
        if value != default:
            raise ValueError(
                f"{key}={value!r} asks for {feature}, which the embedded host does not have: set it"
                f" to {default!r}, or run with genuine Detectron2."
            )


def _value(cfg: CfgNode, key: str) -> Any:
    return functools.reduce(getattr, key.split("."), cfg)
