"""DyHead: dynamic detection heads for Detectron2 (Dai et al., CVPR 2021).

Importing `dyhead` registers nothing; `dyhead.modeling` registers the models with the host.
`Detector`, `Detections` and `DefaultPredictor` are imported when they are first used, for they need
PyTorch.
"""

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dyhead.default_predictor import DefaultPredictor
    from dyhead.prediction import Detections, Detector

# fvcore compiles a loss with it when it is imported, which users can do nothing about
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)

__version__ = "0.3.0"

__all__ = ["DefaultPredictor", "Detections", "Detector", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "DefaultPredictor":
        from dyhead.default_predictor import DefaultPredictor

        return DefaultPredictor
    if name in ("Detector", "Detections"):
        from dyhead import prediction

        return getattr(prediction, name)
    raise AttributeError(f"module 'dyhead' has no attribute {name!r}")
