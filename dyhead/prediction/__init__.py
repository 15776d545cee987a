"""Detection in pictures and videos with a trained detector."""

from dyhead.prediction.detections import Detections
from dyhead.prediction.detector import Detector
from dyhead.prediction.inputs import Picture, read_picture
from dyhead.prediction.runner import RawDetections, Runner

__all__ = ["Detections", "Detector", "Picture", "RawDetections", "Runner", "read_picture"]
