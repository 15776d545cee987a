"""The host's `modeling.meta_arch`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling.meta_arch import (
        META_ARCH_REGISTRY,
        GeneralizedRCNN,
        ProposalNetwork,
        RetinaNet,
        build_model,
    )
else:
    from dyhead.d2._embedded.modeling.meta_arch import (
        META_ARCH_REGISTRY,
        GeneralizedRCNN,
        ProposalNetwork,
        RetinaNet,
        build_model,
    )

__all__ = [
    "GeneralizedRCNN",
    "META_ARCH_REGISTRY",
    "ProposalNetwork",
    "RetinaNet",
    "build_model",
]
