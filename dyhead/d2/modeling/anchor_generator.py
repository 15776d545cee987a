"""The host's `modeling.anchor_generator`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling.anchor_generator import (
        ANCHOR_GENERATOR_REGISTRY,
        DefaultAnchorGenerator,
        build_anchor_generator,
    )
else:
    from dyhead.d2._embedded.modeling.anchor_generator import (
        ANCHOR_GENERATOR_REGISTRY,
        DefaultAnchorGenerator,
        build_anchor_generator,
    )

__all__ = [
    "ANCHOR_GENERATOR_REGISTRY",
    "DefaultAnchorGenerator",
    "build_anchor_generator",
]
