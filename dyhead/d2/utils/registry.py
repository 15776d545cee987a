"""The host's `utils.registry`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.utils.registry import Registry
else:
    from dyhead.d2._embedded.utils.registry import Registry

__all__ = [
    "Registry",
]
