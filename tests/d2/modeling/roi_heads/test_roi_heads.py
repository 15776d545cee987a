"""The second stage as a whole."""

import pytest
import torch
from small_regions import SHAPES, SIZES, objects, regions, small_batch, small_config
from torch import nn

from dyhead.d2 import HOST
from dyhead.d2.config import get_cfg
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.proposal_generator import build_proposal_generator
from dyhead.d2.modeling.roi_heads import StandardROIHeads, build_roi_heads
from dyhead.d2.structures import ImageList
from dyhead.d2.utils.events import EventStorage

only_embedded = pytest.mark.skipif(HOST != "embedded", reason="the embedded host's own words")


def test_losses_that_detectron2_expects():
    torch.manual_seed(121)
    cfg = get_cfg()
    cfg.MODEL.ROI_BOX_HEAD.update({"NAME": "FastRCNNConvFCHead", "NUM_FC": 2})
    cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS = (10, 10, 5, 5)
    images = ImageList(torch.rand(2, 20, 30), [(10, 10), (20, 30)])
    features = {"res4": torch.rand(2, 1024, 1, 2)}
    shapes = {"res4": ShapeSpec(channels=1024, stride=16)}
    gt = [
        objects(torch.tensor([[1.0, 1, 3, 3], [2, 2, 6, 6]]), [2, 1], (15, 15)),
        objects(torch.tensor([[1.0, 5, 2, 8], [7, 3, 10, 5]]), [1, 2], (15, 15)),
    ]
    torch.rand(2, 2, 15, 15)  # the masks that Detectron2's own test draws at this point
    generator = build_proposal_generator(cfg, shapes)
    heads = StandardROIHeads(cfg, shapes)
    with EventStorage():
        proposals, rpn_losses = generator(images, features, gt)
        _, losses = heads(images, features, proposals, gt)
    expected = {
        "loss_cls": 4.5253729820251465,
        "loss_box_reg": 0.009785720147192478,
        "loss_rpn_cls": 0.08186662942171097,
        "loss_rpn_loc": 0.1104838103055954,
    }
    for name, value in {**losses, **rpn_losses}.items():
        assert value.item() == pytest.approx(expected[name], rel=1e-5, abs=1e-8)


def test_inference_of_the_heads():
    options = {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0}
    heads = StandardROIHeads(small_config(**options), SHAPES).eval()
    images, features, proposals, _ = small_batch()
    proposals[1] = regions([], SIZES[1])
    found, losses = heads(images, features, proposals)
    assert losses == {}
    assert [f.image_size for f in found] == SIZES
    assert len(found[0]) > 0 and len(found[1]) == 0
    assert found[0].get_fields().keys() == {"pred_boxes", "scores", "pred_classes"}
    again = heads.forward_with_given_boxes(features, found)
    assert torch.equal(again[0].pred_boxes.tensor, found[0].pred_boxes.tensor)


def test_training_without_any_object_or_proposal():
    heads = StandardROIHeads(small_config(), SHAPES)
    images, features, _, _ = small_batch()
    none = [regions([]), regions([], SIZES[1])]
    empty = [objects([], []), objects([], [], SIZES[1])]
    with EventStorage():
        _, losses = heads(images, features, none, empty)
    assert all(loss == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in heads.parameters())


@pytest.mark.parametrize("on_predictions", [False, True])
def test_regions_after_training(on_predictions):
    options = {"MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": on_predictions}
    heads = StandardROIHeads(small_config(**options), SHAPES)
    nn.init.normal_(heads.box_predictor.bbox_pred.bias)
    with EventStorage():
        sampled, _ = heads(*small_batch())
    originals = torch.cat([p.proposal_boxes.tensor for p in small_batch()[2]])
    boxes = torch.cat([s.proposal_boxes.tensor for s in sampled])
    unchanged = [(originals == box).all(dim=1).any().item() for box in boxes]
    assert any(unchanged) != on_predictions
    assert not boxes.requires_grad


@only_embedded
@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("MODEL.MASK_ON", True, r"MODEL\.MASK_ON=True.*genuine Detectron2"),
        ("MODEL.KEYPOINT_ON", True, r"MODEL\.KEYPOINT_ON=True.*genuine Detectron2"),
        ("MODEL.ROI_BOX_HEAD.USE_FED_LOSS", True, r"USE_FED_LOSS=True.*genuine Detectron2"),
        ("MODEL.ROI_HEADS.NAME", "Res5ROIHeads", r"NAME='Res5ROIHeads'.*'StandardROIHeads'"),
        ("MODEL.ROI_HEADS.NAME", "CascadeROIHeads", r"ROI_HEADS\.NAME='CascadeROIHeads'"),
        ("MODEL.ROI_HEADS.IN_FEATURES", ["a", "p2"], r"MODEL\.ROI_HEADS\.IN_FEATURES=.*a, b"),
        ("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignRotated", "POOLER_TYPE='ROIAlignRotated'"),
        ("MODEL.ROI_BOX_HEAD.NUM_FC", 0, r"MODEL\.ROI_BOX_HEAD\.NUM_CONV or NUM_FC"),
    ],
)
def test_what_is_not_served(key, value, words):
    with pytest.raises(ValueError, match=words):
        build_roi_heads(small_config(**{key: value}), SHAPES)


@only_embedded
def test_training_needs_objects():
    images, features, proposals, targets = small_batch()
    heads = StandardROIHeads(small_config(), SHAPES)
    with pytest.raises(ValueError, match="targets"):
        heads(images, features, proposals)
    assert heads(images, features, proposals, targets)[1]  # without event storage too


def test_the_branches_of_a_subclass_are_trained_and_run():
    class Coloured(StandardROIHeads):
        def _forward_mask(self, features, instances):
            if self.training:
                return {"loss_colour": torch.ones(())}
            for each in instances:
                each.colour = torch.zeros(len(each))
            return instances

        def forward_with_given_boxes(self, features, instances):
            for each in super().forward_with_given_boxes(features, instances):
                each.twice = 2 * each.colour
            return instances

    heads = Coloured(small_config(), SHAPES)
    images, features, proposals, targets = small_batch()
    with EventStorage():
        _, losses = heads(images, features, proposals, targets)
    assert losses.keys() == {"loss_cls", "loss_box_reg", "loss_colour"}
    images, features, proposals, _ = small_batch()
    found, _ = heads.eval()(images, features, proposals)
    assert all(each.has("colour") and each.has("twice") for each in found)
