"""The registry of backbones."""

from ...config import CfgNode
from ...layers import ShapeSpec
from ...utils.registry import Registry
from .backbone import Backbone

BACKBONE_REGISTRY = Registry("BACKBONE")
BACKBONE_REGISTRY.__doc__ = (
    """Functions (or classes) from `(cfg, input_shape: ShapeSpec)` to a Backbone."""
)


def build_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> Backbone:
    """Build the backbone registered as `cfg.MODEL.BACKBONE.NAME`.

    Args:
        cfg: the whole config.
        input_shape: shape of the images; None takes one channel per entry of MODEL.PIXEL_MEAN.

    Raises:
        TypeError: what is registered under that name does not give a `Backbone`.
    """
    if input_shape is None:
        input_shape = ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    name = cfg.MODEL.BACKBONE.NAME
    backbone = BACKBONE_REGISTRY.get(name)(cfg, input_shape)
    if not isinstance(backbone, Backbone):
        raise TypeError(
            f"MODEL.BACKBONE.NAME {name!r} gave a {type(backbone).__name__}: it has to be a"
            " subclass of Backbone."
        )
    return backbone
