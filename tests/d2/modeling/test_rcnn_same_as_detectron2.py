"""The embedded host's two-stage detectors against genuine Detectron2's, where it can be imported.

Both hosts build the same small Faster R-CNN; equal weights and seeds have to give equal losses,
gradients and detections.
"""

import importlib

import pytest
import torch

pytest.importorskip("detectron2", reason="genuine Detectron2 is not importable")

HOSTS = ("dyhead.d2._embedded", "detectron2")
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


def part(host, module):
    return importlib.import_module(f"{host}.{module}")


def build(host, variant):
    cfg = part(host, "config").get_cfg()
    for key, value in (SMALL | VARIANTS[variant]).items():
        cfg.merge_from_list([f"MODEL.{key}", value])
    torch.manual_seed(5)
    return part(host, "modeling").build_model(cfg)


def excite(model):
    """Make predictions differ enough that rounding does not change their order."""
    torch.manual_seed(6)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "rpn_head" in name or "box_predictor" in name:
                parameter.normal_(std=0.1)
    return model


def inputs(host, num_objects=(3, 0), num_classes=1):
    structures = part(host, "structures")
    generator = torch.Generator().manual_seed(7)
    batch = []
    for height, width, count in ((64, 96, num_objects[0]), (80, 60, num_objects[1])):
        corner = torch.rand(count, 2, generator=generator) * 30
        size = torch.rand(count, 2, generator=generator) * 25 + 4
        instances = structures.Instances((height, width))
        instances.gt_boxes = structures.Boxes(torch.cat([corner, corner + size], dim=1))
        instances.gt_classes = torch.arange(count) % num_classes
        image = torch.rand(3, height, width, generator=generator) * 255
        batch.append({"image": image, "instances": instances, "height": 128, "width": 100})
    return batch


@pytest.fixture(scope="module", params=VARIANTS)
def models(request):
    """The embedded host's and genuine Detectron2's model, with equal weights."""
    ours, theirs = (build(host, request.param) for host in HOSTS)
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    for key, value in ours.state_dict().items():
        assert torch.equal(value, state[key]), f"{key} is initialized differently"
    ours.load_state_dict(excite(theirs).state_dict(), strict=True)
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
    ours, theirs, _ = models
    results = []
    for host, model in zip(HOSTS, (ours, theirs), strict=True):
        with torch.no_grad():
            results.append(model.eval()(inputs(host)))
    for actual, expected in zip(*results, strict=True):
        assert actual.keys() == expected.keys()
        (actual,), (expected,) = actual.values(), expected.values()
        assert len(actual) == len(expected) > 5
        assert actual.image_size == expected.image_size == (128, 100)
        assert actual.get_fields().keys() == expected.get_fields().keys()
        for name, value in actual.get_fields().items():
            value, other = (getattr(v, "tensor", v) for v in (value, expected.get(name)))
            torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-4)


def test_inference_without_postprocessing_and_with_given_detections():
    results = []
    for host in HOSTS:
        model = excite(build(host, "plain")).eval()
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
