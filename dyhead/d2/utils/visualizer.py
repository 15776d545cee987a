"""The host's `utils.visualizer`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.utils.visualizer import ColorMode, VisImage, Visualizer
else:
    from dyhead.d2._embedded.utils.visualizer import ColorMode, VisImage, Visualizer

__all__ = [
    "ColorMode",
    "VisImage",
    "Visualizer",
]
