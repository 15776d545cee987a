"""The host's `evaluation.testing`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.evaluation.testing import flatten_results_dict
else:
    from dyhead.d2._embedded.evaluation.testing import flatten_results_dict

__all__ = [
    "flatten_results_dict",
]
