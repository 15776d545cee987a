"""The host's `modeling.proposal_generator.proposal_utils`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling.proposal_generator.proposal_utils import (
        add_ground_truth_to_proposals,
        find_top_rpn_proposals,
    )
else:
    from dyhead.d2._embedded.modeling.proposal_generator.proposal_utils import (
        add_ground_truth_to_proposals,
        find_top_rpn_proposals,
    )

__all__ = [
    "add_ground_truth_to_proposals",
    "find_top_rpn_proposals",
]
