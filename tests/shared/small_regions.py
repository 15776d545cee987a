"""A small second stage: its config, and a batch of two images with regions and objects."""

import torch

from dyhead.d2.config import get_cfg
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.structures import Boxes, ImageList, Instances

SHAPES = {"a": ShapeSpec(channels=4, stride=8), "b": ShapeSpec(channels=4, stride=16)}
SIZES = [(64, 60), (50, 64)]


def small_config(**options):
    """The config of a second stage on SHAPES, with further keys and their values."""
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.update(
        {"NAME": "StandardROIHeads", "IN_FEATURES": ["a", "b"], "NUM_CLASSES": 3}
    )
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 8
    cfg.MODEL.ROI_BOX_HEAD.update({"NAME": "FastRCNNConvFCHead", "NUM_FC": 1, "FC_DIM": 16})
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 3
    cfg.merge_from_list([item for pair in options.items() for item in pair])
    return cfg


def regions(boxes, size=SIZES[0]):
    """Proposals of an image, XYXY in pixels."""
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    logits = torch.zeros(len(boxes))
    return Instances(size, proposal_boxes=Boxes(boxes), objectness_logits=logits)


def objects(boxes, classes, size=SIZES[0]):
    """The objects of an image, XYXY in pixels."""
    return Instances(size, gt_boxes=Boxes(boxes), gt_classes=torch.tensor(classes).long())


def small_batch():
    """Images, features, proposals and objects of a batch of two; the second has no object."""
    torch.manual_seed(2)
    images = ImageList(torch.rand(2, 3, 64, 64), SIZES)
    features = {"a": torch.randn(2, 4, 8, 8), "b": torch.randn(2, 4, 4, 4)}
    proposals = [
        regions([[0, 0, 10, 10], [1, 1, 10, 11], [30, 30, 50, 50], [0, 40, 60, 60]]),
        regions([[5, 5, 30, 30], [20, 20, 60, 40]], SIZES[1]),
    ]
    targets = [objects([[0.0, 0, 10, 10], [31, 30, 50, 52]], [2, 0]), objects([], [], SIZES[1])]
    return images, features, proposals, targets
