"""A detector of one's own on the trunk: all it takes is a class and a head, no list elsewhere."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dyhead.d2.config import CfgNode, configurable
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, Backbone
from dyhead.d2.modeling.backbone import build_backbone
from dyhead.d2.structures import Boxes, Instances
from dyhead.data.num_classes import get_num_classes
from dyhead.engine.precision import build_test_precision
from dyhead.engine.trainer import Trainer
from dyhead.export.graph import DetectionGraph
from dyhead.modeling.meta_arch.assignment import find_positives
from dyhead.modeling.meta_arch.dense_arguments import (
    head_levels,
    inference_arguments,
    trunk_arguments,
)
from dyhead.modeling.meta_arch.dense_detector import DenseDetector, DensePredictions
from dyhead.modeling.meta_arch.dense_losses import box_loss, class_loss
from dyhead.modeling.meta_arch.fcos_assignment import assign_locations
from dyhead.modeling.meta_arch.locations import DistanceTransform, build_location_generator


class TwoConvolutions(nn.Module):
    """A head of a class and a box predictor, which under autocast gives 16 bits."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.classes, self.boxes = nn.Conv2d(8, num_classes, 1), nn.Conv2d(8, 4, 1)
        nn.init.constant_(self.boxes.get_parameter("bias"), 1.0)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        return [self.classes(level) for level in features], [self.boxes(x) for x in features]


class OwnDetector(DenseDetector):
    """An object is detected by all locations of one level in its box, without any quality."""

    config_section = "FCOS"  # whose keys it reads

    @configurable
    def __init__(self, **dense_detector: Any) -> None:
        super().__init__(**dense_detector)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        backbone = build_backbone(cfg)
        return {
            **trunk_arguments(cfg, cfg.MODEL.FCOS, backbone),
            **inference_arguments(cfg.MODEL.FCOS),
            "head": TwoConvolutions(cfg.MODEL.FCOS.NUM_CLASSES),
            "anchor_generator": build_location_generator(head_levels(cfg.MODEL.FCOS, backbone)),
            "box2box_transform": DistanceTransform(),
        }

    def losses(
        self, anchors: list[Tensor], predictions: DensePredictions, gt_instances: list[Instances]
    ) -> dict[str, Tensor]:
        objects = [each.gt_boxes.tensor for each in gt_instances]
        options: dict[str, Any] = {"level_limits": [12], "center_sampling_radius": 0}
        assignments = torch.stack([assign_locations(anchors, each, **options) for each in objects])
        positives = find_positives(gt_instances, assignments)
        logits, deltas = (
            torch.cat(levels, dim=1)
            for levels in (predictions.class_logits, predictions.box_deltas)
        )
        boxes = self.box2box_transform.apply_deltas(
            deltas[positives.images, positives.anchors], torch.cat(anchors)[positives.anchors]
        )
        count = max(1, len(boxes))
        return {
            "loss_cls": class_loss(logits, positives, alpha=0.25, gamma=2.0, normalizer=count),
            "loss_box_reg": box_loss(boxes, positives.boxes, "giou", count),
        }


class TwoLevels(Backbone):
    """Pooled pixels through one convolution."""

    def __init__(self, cfg: CfgNode, input_shape: ShapeSpec) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        pixels = self.conv(images / 255)
        return {"p2": F.avg_pool2d(pixels, 4), "p3": F.avg_pool2d(pixels, 8)}

    @property
    def size_divisibility(self) -> int:
        return 8

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {name: ShapeSpec(channels=8, stride=s) for name, s in (("p2", 4), ("p3", 8))}


if "OwnDetector" not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(OwnDetector)
    BACKBONE_REGISTRY.register(TwoLevels)


@pytest.fixture
def cfg(make_config: Callable[..., CfgNode]) -> CfgNode:
    return make_config(
        **{
            "MODEL.META_ARCHITECTURE": "OwnDetector",
            "MODEL.BACKBONE.NAME": "TwoLevels",
            "MODEL.FCOS.IN_FEATURES": ["p2", "p3"],
            "MODEL.FCOS.INFERENCE_TH": 0.01,
            "SOLVER.AMP.ENABLED": True,
            "SOLVER.BASE_LR": 0.02,
            "SOLVER.MAX_ITER": 12,
            "SOLVER.CHECKPOINT_PERIOD": 12,
            "TEST.PRECISION": "bfloat16",
        }
    )


@pytest.mark.usefixtures("without_pictures")
def test_it_trains_evaluates_and_exports_in_mixed_precision(cfg: CfgNode) -> None:
    assert get_num_classes(cfg) == 2  # as the data set has, in the section that it names
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.train()
    totals = [value for value, _ in trainer.storage.histories()["total_loss"].values()]
    assert len(totals) == 12 and sum(totals[-4:]) < 0.95 * sum(totals[:4])
    assert "bbox/AP" in trainer.storage.latest()

    model = trainer.model.eval()
    images = torch.randint(0, 256, (2, 3, 32, 40), dtype=torch.uint8)
    with torch.no_grad():
        _, scores, _, counts = DetectionGraph(model)(images)
        outputs = model([{"image": image} for image in images])
    for index, output in enumerate(outputs):
        found = output["instances"]
        assert counts[index] == len(found) > 0
        torch.testing.assert_close(scores[index, : len(found)], found.scores)


def test_its_head_computes_in_16_bits_and_all_that_follows_in_float32(cfg: CfgNode) -> None:
    torch.manual_seed(0)
    model = OwnDetector(cfg)
    heads: set[torch.dtype] = set()
    model.head.register_forward_hook(lambda _, x, maps: heads.update(m.dtype for m in maps[0]))
    image = torch.randint(0, 256, (3, 32, 40), dtype=torch.uint8)
    truth = Instances((32, 40))
    truth.gt_boxes = Boxes(torch.tensor([[4.0, 4, 30, 28]]))
    truth.gt_classes = torch.tensor([1])
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([{"image": image, "instances": truth}])
    assert heads == {torch.bfloat16}
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    with torch.no_grad():
        (output,) = build_test_precision(cfg, model.eval())([{"image": image}])
    found = output["instances"]
    assert found.scores.dtype == found.pred_boxes.tensor.dtype == torch.float32
