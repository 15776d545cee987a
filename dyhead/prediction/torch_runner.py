"""Runs a PyTorch detector on pictures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dyhead.d2.structures import Instances
from dyhead.data.model_input import colour_order, resize, resized_size
from dyhead.engine.precision import build_test_precision
from dyhead.modeling.tta import build_multi_scale_testing
from dyhead.picture_files import allow_pixels
from dyhead.prediction.runner import RawDetections

if TYPE_CHECKING:
    from dyhead.detector import ReadyDetector


class TorchRunner:
    """A ready detector behind the interface `Runner`.

    It computes in TEST.PRECISION, and at several scales where TEST.AUG.ENABLED.

    Attributes:
        model: the detector itself.
        is_multi_scale: it looks at each picture in several sizes.

    Raises:
        UserError: the detector takes no colour pictures, or an option of TEST cannot be used.
    """

    def __init__(self, ready: "ReadyDetector") -> None:
        cfg = ready.cfg
        allow_pixels(cfg.INPUT.MAX_PIXELS)
        self.class_names = ready.class_names
        self.category_ids = ready.category_ids
        self.input_format = colour_order(cfg)
        self.min_size: int = cfg.INPUT.MIN_SIZE_TEST
        self.max_size: int = cfg.INPUT.MAX_SIZE_TEST
        self.model = ready.model
        self.is_multi_scale: bool = cfg.TEST.AUG.ENABLED
        testing = build_multi_scale_testing(cfg, ready.model)
        self._model = build_test_precision(cfg, testing).eval()

    def __call__(self, images: Sequence[np.ndarray]) -> list[RawDetections]:
        """Detect in a batch; see `Runner`."""
        return [as_arrays(instances) for instances in self.detect(images)]

    @torch.no_grad()
    def detect(self, images: Sequence[np.ndarray]) -> list[Instances]:
        """Detect in a batch as `__call__` does, and give what the model gives."""
        outputs = self._model([self._prepare(image) for image in images])
        return [output["instances"] for output in outputs]

    def seen_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width in which the model sees a picture, unless in several."""
        return resized_size(height, width, self.min_size, self.max_size)

    def _prepare(self, image: np.ndarray) -> dict[str, Any]:
        """Make Detectron2's input dict, resized as in evaluation."""
        height, width = image.shape[:2]
        if not self.is_multi_scale:  # which makes its own sizes, of the unscaled picture
            image = resize(image, self.min_size, self.max_size)
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return {"image": tensor, "height": height, "width": width}


def as_arrays(instances: Instances) -> RawDetections:
    """Convert detections to arrays."""
    instances = instances.to("cpu")
    return RawDetections(
        instances.pred_boxes.tensor.float().numpy(),
        instances.scores.float().numpy(),
        instances.pred_classes.long().numpy(),
    )
