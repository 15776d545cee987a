"""Answers names of parts that nobody has registered with their key and the names that there are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_HEADS_REGISTRY,
)
from dyhead.d2.modeling.proposal_generator import RPN_HEAD_REGISTRY
from dyhead.d2.modeling.roi_heads import ROI_BOX_HEAD_REGISTRY
from dyhead.errors import UserError

_REGISTRIES: dict[str, Any] = {
    "MODEL.META_ARCHITECTURE": META_ARCH_REGISTRY,
    "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
    "MODEL.ANCHOR_GENERATOR.NAME": ANCHOR_GENERATOR_REGISTRY,
    "MODEL.PROPOSAL_GENERATOR.NAME": PROPOSAL_GENERATOR_REGISTRY,
    "MODEL.RPN.HEAD_NAME": RPN_HEAD_REGISTRY,
    "MODEL.ROI_HEADS.NAME": ROI_HEADS_REGISTRY,
    "MODEL.ROI_BOX_HEAD.NAME": ROI_BOX_HEAD_REGISTRY,
}


@contextmanager
def answer_unknown_names(cfg: CfgNode) -> Iterator[None]:
    """Explain the KeyError of a registry, which knows no keys, while a config's model is built.

    Raises:
        UserError: in its place, with the key, the name and all names that are registered.
    """
    try:
        yield
    except KeyError as error:
        for key, registry in _REGISTRIES.items():
            name: Any = cfg
            for part in key.split("."):
                name = name[part]
            if name not in registry and f"'{name}'" in str(error.args[0]):
                names = ", ".join(sorted(known for known, _ in registry))
                raise UserError(
                    f"{key} {name!r} is unknown: use one of {names}, or import what registers it"
                    " before (docs/own_backbone.md)."
                ) from error
        raise
