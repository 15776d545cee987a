"""The embedded host's two-stage detectors against genuine Detectron2's, where it can be imported.

Both hosts build the same small Faster R-CNN; equal weights and seeds have to give equal losses,
gradients and detections.
"""

import both_hosts
import pytest
import torch
from both_hosts import HOSTS, build, inputs, part

pytest.importorskip("detectron2", reason="genuine Detectron2 is not importable")

LEVELS = ["p2", "p3", "p4", "p5"]
SMALL = {
    "META_ARCHITECTURE": "GeneralizedRCNN",
    "DEVICE": "cpu",
    "PIXEL_STD": [60.0, 60.0, 60.0],
    "BACKBONE.NAME": "build_resnet_fpn_backbone",
    "BACKBONE.FREEZE_AT": 0,
    "RESNETS.DEPTH": 18,
    "RESNETS.RES2_OUT_CHANNELS": 64,
    "RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "FPN.OUT_CHANNELS": 16,
    "ANCHOR_GENERATOR.SIZES": [[8], [16], [32], [64], [128]],
    "RPN.IN_FEATURES": [*LEVELS, "p6"],
    "RPN.BATCH_SIZE_PER_IMAGE": 32,
    "RPN.PRE_NMS_TOPK_TRAIN": 200,
    "RPN.PRE_NMS_TOPK_TEST": 100,
    "RPN.POST_NMS_TOPK_TRAIN": 100,
    "RPN.POST_NMS_TOPK_TEST": 50,
    "ROI_HEADS.NAME": "StandardROIHeads",
    "ROI_HEADS.IN_FEATURES": LEVELS,
    "ROI_HEADS.NUM_CLASSES": 3,
    "ROI_HEADS.BATCH_SIZE_PER_IMAGE": 24,
    "ROI_HEADS.SCORE_THRESH_TEST": 0.01,
    "ROI_HEADS.NMS_THRESH_TEST": 0.8,
    "ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "ROI_BOX_HEAD.NUM_FC": 2,
    "ROI_BOX_HEAD.FC_DIM": 32,
    "ROI_BOX_HEAD.POOLER_RESOLUTION": 5,
}
VARIANTS = {
    "plain": {},
    "agnostic": {"ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True},
    "one_class": {"ROI_HEADS.NUM_CLASSES": 1},
    "sigmoid": {"ROI_BOX_HEAD.USE_SIGMOID_CE": True},
    "giou": {"ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": "giou", "RPN.BBOX_REG_LOSS_TYPE": "giou"},
    "diou": {"ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": "diou", "RPN.BBOX_REG_LOSS_TYPE": "diou"},
    "ciou": {"ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": "ciou", "RPN.BBOX_REG_LOSS_TYPE": "ciou"},
    "on_predictions": {"ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": True},
    "without_ground_truth": {"ROI_HEADS.PROPOSAL_APPEND_GT": False},
    "options": {
        "PROPOSAL_GENERATOR.MIN_SIZE": 6,
        "RPN.CONV_DIMS": [12, -1],
        "RPN.BOUNDARY_THRESH": 0,
        "RPN.SMOOTH_L1_BETA": 0.2,
        "RPN.LOSS_WEIGHT": 0.5,
        "RPN.BBOX_REG_LOSS_WEIGHT": 3.0,
        "ROI_BOX_HEAD.NUM_CONV": 2,
        "ROI_BOX_HEAD.CONV_DIM": 32,
        "ROI_BOX_HEAD.NORM": "GN",
        "ROI_BOX_HEAD.POOLER_TYPE": "ROIAlign",
        "ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 2,
        "ROI_BOX_HEAD.SMOOTH_L1_BETA": 0.5,
        "ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT": 2.0,
    },
    "proposals": {"META_ARCHITECTURE": "ProposalNetwork"},
}


def excite_heads(model):
    both_hosts.excite(
        (p for n, p in model.named_parameters() if "rpn_head" in n or "box_predictor" in n), 0.1
    )
    return model


@pytest.fixture(scope="module", params=VARIANTS)
def models(request):
    """The embedded host's and genuine Detectron2's model, with equal weights."""
    ours, theirs = (build(host, SMALL | VARIANTS[request.param]) for host in HOSTS)
    both_hosts.assert_same_weights(ours, theirs)
    ours.load_state_dict(excite_heads(theirs).state_dict(), strict=True)
    return ours, theirs, request.param


def test_weights_load_both_ways(models):
    ours, theirs, _ = models
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)


@pytest.mark.parametrize("num_objects", [(4, 0), (0, 0)], ids=str)
def test_training(models, num_objects):
    ours, theirs, variant = models
    num_classes = 1 if variant == "one_class" else 3
    results = []
    for host, model in zip(HOSTS, (ours, theirs), strict=True):
        torch.manual_seed(8)
        model.zero_grad()
        with part(host, "utils.events").EventStorage() as storage:
            losses = model.train()(inputs(host, num_objects, num_classes))
        sum(losses.values()).backward()
        scalars = {name: value for name, (value, _) in storage.latest().items()}
        gradients = {name: p.grad for name, p in model.named_parameters()}
        results.append((losses, scalars, gradients))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_detections(models):
    both_hosts.assert_same_detections(models[:2])


def test_inference_without_postprocessing_and_with_given_detections():
    results = []
    for host in HOSTS:
        model = excite_heads(build(host, SMALL)).eval()
        batch = inputs(host)
        with torch.no_grad():
            raw = model.inference(batch, do_postprocess=False)
            again = model.inference(batch, raw, do_postprocess=False)
        assert [r.image_size for r in raw] == [(64, 96), (80, 60)]
        for one, other in zip(raw, again, strict=True):
            assert torch.equal(one.pred_boxes.tensor, other.pred_boxes.tensor)
        results.append(raw)
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(
            actual.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=1e-4, atol=1e-4
        )
