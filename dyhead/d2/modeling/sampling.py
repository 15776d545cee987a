"""The host's `modeling.sampling`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling.sampling import subsample_labels
else:
    from dyhead.d2._embedded.modeling.sampling import subsample_labels

__all__ = [
    "subsample_labels",
]
