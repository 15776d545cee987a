"""Detectron2's `DefaultPredictor`, the same on either host as `dyhead.DefaultPredictor`.

On the embedded host `dyhead.d2.engine` gives it too; on Detectron2 that is Detectron2's own.
"""

from typing import Any

import numpy as np
import torch

from dyhead.config.load import with_project_keys
from dyhead.d2.config import CfgNode
from dyhead.d2.data import MetadataCatalog
from dyhead.data.known_classes import known_classes
from dyhead.data.model_input import colour_order, three_channels
from dyhead.data.resizing import ResizeShortestEdge
from dyhead.detector import prepare_detector


class DefaultPredictor:
    """Detects objects in one image at a time with the model and weights that a config names.

    Differences from Detectron2's own: without a GPU it runs on the CPU, the number of classes comes
    from the checkpoint or the data sets, weights of other codes are recognised, and a detector of
    which a part would stay random is refused.

    Attributes:
        cfg: frozen, as the model was built.
        model: in evaluation mode.
        metadata: of the first data set in DATASETS.TEST, where there is one.
        aug: the resize of every image.
        input_format: order of the channels that the model takes.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """Build the model of `cfg` and load MODEL.WEIGHTS.

        Raises:
            UserError: see `dyhead.detector.prepare_detector`.
        """
        dataset = next(iter(cfg.DATASETS.TEST), None)
        is_known = dataset is not None and bool(known_classes(with_project_keys(cfg)).names)
        detector = prepare_detector(cfg, dataset=dataset if is_known else None)
        self.cfg, self.model = detector.cfg, detector.model
        self.input_format = colour_order(self.cfg)
        if dataset is not None:
            self.metadata = MetadataCatalog.get(dataset)
        short_side = cfg.INPUT.MIN_SIZE_TEST
        self.aug = ResizeShortestEdge([short_side, short_side], cfg.INPUT.MAX_SIZE_TEST)

    @torch.no_grad()
    def __call__(self, original_image: np.ndarray) -> dict[str, Any]:
        """Detect the objects in one image.

        Args:
            original_image: uint8, (H, W, 3) in the order BGR; grey and BGRA are converted.

        Returns:
            The model's output for the image; boxes are XYXY in pixels of `original_image`.

        Raises:
            TypeError: it is no array of uint8.
            ValueError: it has another shape.
        """
        image = three_channels(original_image)
        height, width = image.shape[:2]
        if self.input_format == "RGB":
            image = image[:, :, ::-1]
        resized = self.aug.get_transform(image).apply_image(image).astype(np.float32)
        tensor = torch.from_numpy(resized.transpose(2, 0, 1).copy())  # (3, h, w)
        tensor = tensor.to(self.cfg.MODEL.DEVICE)
        return self.model([{"image": tensor, "height": height, "width": width}])[0]
