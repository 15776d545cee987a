"""The host's `checkpoint`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.checkpoint import DetectionCheckpointer, PeriodicCheckpointer
else:
    from dyhead.d2._embedded.checkpoint import DetectionCheckpointer, PeriodicCheckpointer

__all__ = [
    "DetectionCheckpointer",
    "PeriodicCheckpointer",
]
