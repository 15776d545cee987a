"""The host's `modeling.postprocessing`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling.postprocessing import detector_postprocess
else:
    from dyhead.d2._embedded.modeling.postprocessing import detector_postprocess

__all__ = [
    "detector_postprocess",
]
