"""The host's `modeling.proposal_generator`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling.proposal_generator import (
        PROPOSAL_GENERATOR_REGISTRY,
        RPN,
        RPN_HEAD_REGISTRY,
        StandardRPNHead,
        build_proposal_generator,
        build_rpn_head,
    )
else:
    from dyhead.d2._embedded.modeling.proposal_generator import (
        PROPOSAL_GENERATOR_REGISTRY,
        RPN,
        RPN_HEAD_REGISTRY,
        StandardRPNHead,
        build_proposal_generator,
        build_rpn_head,
    )

__all__ = [
    "PROPOSAL_GENERATOR_REGISTRY",
    "RPN",
    "RPN_HEAD_REGISTRY",
    "StandardRPNHead",
    "build_proposal_generator",
    "build_rpn_head",
]
