"""The host's `modeling.matcher`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling.matcher import Matcher
else:
    from dyhead.d2._embedded.modeling.matcher import Matcher

__all__ = [
    "Matcher",
]
