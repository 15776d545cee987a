"""The registry of proposal generators."""

from torch import nn

from ...config import CfgNode, check_part
from ...layers import ShapeSpec
from ...utils.registry import Registry

PROPOSAL_GENERATOR_REGISTRY = Registry("PROPOSAL_GENERATOR")
PROPOSAL_GENERATOR_REGISTRY.__doc__ = (
    """Modules built from `(cfg, input_shape: dict[str, ShapeSpec])`, called like `RPN`."""
)


def build_proposal_generator(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """Build the generator registered as `cfg.MODEL.PROPOSAL_GENERATOR.NAME`.

    Args:
        cfg: the whole config.
        input_shape: what the backbone gives.

    Raises:
        ValueError: it is one that takes genuine Detectron2.
    """
    check_part(cfg, "MODEL.PROPOSAL_GENERATOR.NAME", PROPOSAL_GENERATOR_REGISTRY)
    name = cfg.MODEL.PROPOSAL_GENERATOR.NAME
    return PROPOSAL_GENERATOR_REGISTRY.get(name)(cfg, input_shape)
