"""Networks that propose regions which may hold an object."""

from .build import PROPOSAL_GENERATOR_REGISTRY, build_proposal_generator
from .rpn import RPN
from .rpn_head import RPN_HEAD_REGISTRY, StandardRPNHead, build_rpn_head
