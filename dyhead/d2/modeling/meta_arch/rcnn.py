"""Detectors that first propose regions (Faster R-CNN, arXiv:1506.01497).

Boxes are absolute x0, y0, x1, y1 in pixels.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from ...config import CfgNode, check_switched_off, configurable
from ...structures import Instances
from ..backbone import Backbone, build_backbone
from ..proposal_generator import build_proposal_generator
from ..roi_heads import build_roi_heads
from .build import META_ARCH_REGISTRY
from .image_detector import ImageDetector, scale_to_outputs

BatchedInputs = list[dict[str, Any]]


class ProposingDetector(ImageDetector):
    """What both detectors share: proposals, and objects to learn from."""

    def __init__(
        self,
        backbone: Backbone,
        proposal_generator: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(backbone, pixel_mean, pixel_std)
        self.proposal_generator = proposal_generator

    def _objects(self, batched_inputs: BatchedInputs) -> list[Instances] | None:
        if "instances" not in batched_inputs[0]:
            return None
        return [each["instances"].to(self.device) for each in batched_inputs]


@META_ARCH_REGISTRY.register()
class GeneralizedRCNN(ProposingDetector):
    """Backbone, proposals, and a second stage that judges them.

    State-dict keys: `backbone`, `proposal_generator`, `roi_heads`.
    """

    roi_heads: Any

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module,
        roi_heads: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str | None = None,
        vis_period: int = 0,
    ) -> None:
        """Take the parts.

        Args:
            backbone: from images to features.
            proposal_generator: called like `RPN`.
            roi_heads: called like `StandardROIHeads`.
            pixel_mean: what is subtracted from each channel.
            pixel_std: what each channel is divided by then.
            input_format: order of the channels such as "BGR", for whoever draws the images.
            vis_period: iterations between drawings of the training; only 0, never, is served.

        Raises:
            ValueError: another `vis_period`, or means and divisors of different numbers.
        """
        super().__init__(backbone, proposal_generator, pixel_mean, pixel_std)
        if vis_period != 0:
            raise ValueError(f"vis_period={vis_period}: the embedded host draws nothing, use 0.")
        self.roi_heads = roi_heads
        self.input_format = input_format
        self.vis_period = vis_period

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments of the constructor from a config.

        Raises:
            ValueError: it asks for drawings of the training, or for a part that is not served.
        """
        check_switched_off(cfg, "VIS_PERIOD")
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, shapes),
            "roi_heads": build_roi_heads(cfg, shapes),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
        }

    def forward(self, batched_inputs: BatchedInputs) -> Any:
        """Detect objects, or in training compute losses.

        Args:
            batched_inputs: for each image a dict with "image", (C, H, W) in the units of
                `pixel_mean`; in training "instances" with "gt_boxes" and "gt_classes"; at
                inference optionally "height" and "width" to scale the detections to.

        Returns:
            In training losses by name, otherwise what `inference` gives.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        objects = self._objects(batched_inputs)
        features = self.backbone(images.tensor)
        proposals, proposal_losses = self.proposal_generator(images, features, objects)
        _, detector_losses = self.roi_heads(images, features, proposals, objects)
        return {**detector_losses, **proposal_losses}

    def inference(
        self,
        batched_inputs: BatchedInputs,
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> Any:
        """Detect objects.

        Args:
            batched_inputs: see `forward`.
            detected_instances: detections of each image, which are only completed then.
            do_postprocess: whether detections are scaled to each image's "height" and "width".

        Returns:
            For each image {"instances": detections} with "pred_boxes", "scores" and
            "pred_classes"; without postprocessing the detections themselves, in the pixels of the
            images given.
        """
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if detected_instances is None:
            proposals, _ = self.proposal_generator(images, features, None)
            results, _ = self.roi_heads(images, features, proposals, None)
        else:
            given = [instances.to(self.device) for instances in detected_instances]
            results = self.roi_heads.forward_with_given_boxes(features, given)
        if not do_postprocess:
            return results
        return self._postprocess(results, batched_inputs, images.image_sizes)

    @staticmethod
    def _postprocess(
        instances: list[Instances],
        batched_inputs: BatchedInputs,
        image_sizes: list[tuple[int, int]],
    ) -> list[dict[str, Instances]]:
        scaled = scale_to_outputs(instances, batched_inputs, image_sizes)
        return [{"instances": results} for results in scaled]


@META_ARCH_REGISTRY.register()
class ProposalNetwork(ProposingDetector):
    """Backbone and proposals alone.

    State-dict keys: `backbone`, `proposal_generator`.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        """Take the parts; see `GeneralizedRCNN`."""
        super().__init__(backbone, proposal_generator, pixel_mean, pixel_std)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments of the constructor from a config."""
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, backbone.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    def forward(self, batched_inputs: BatchedInputs) -> Any:
        """Propose regions, or in training compute losses.

        Args:
            batched_inputs: see `GeneralizedRCNN.forward`.

        Returns:
            In training losses by name, otherwise for each image {"proposals": regions} with
            "proposal_boxes" and "objectness_logits", best first.
        """
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        objects = self._objects(batched_inputs)
        proposals, losses = self.proposal_generator(images, features, objects)
        if self.training:
            return losses
        scaled = scale_to_outputs(proposals, batched_inputs, images.image_sizes)
        return [{"proposals": regions} for regions in scaled]
