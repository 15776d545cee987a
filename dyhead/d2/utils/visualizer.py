"""The host's `utils.visualizer`.

Genuine Detectron2's needs OpenCV, which Detectron2 itself can do without: where that is missing the
embedded one, which draws boxes and labels only, takes its place.
"""

import importlib.util

from dyhead.d2._host import HOST

if HOST == "detectron2" and importlib.util.find_spec("cv2") is not None:
    from detectron2.utils.visualizer import ColorMode, VisImage, Visualizer
else:
    from dyhead.d2._embedded.utils.visualizer import ColorMode, VisImage, Visualizer

__all__ = [
    "ColorMode",
    "VisImage",
    "Visualizer",
]
