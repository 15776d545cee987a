"""The embedded host's RetinaNet against genuine Detectron2's, where it can be imported.

Both hosts build the same small RetinaNet; equal weights have to give equal losses, gradients and
detections.
"""

import both_hosts
import pytest
import torch
from both_hosts import HOSTS, build, inputs, part

pytest.importorskip("detectron2", reason="genuine Detectron2 is not importable")

SMALL = {
    "META_ARCHITECTURE": "RetinaNet",
    "DEVICE": "cpu",
    "PIXEL_STD": [60.0, 60.0, 60.0],
    "BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone",
    "BACKBONE.FREEZE_AT": 0,
    "RESNETS.DEPTH": 18,
    "RESNETS.RES2_OUT_CHANNELS": 64,
    "RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
    "FPN.IN_FEATURES": ["res3", "res4", "res5"],
    "FPN.OUT_CHANNELS": 32,
    "ANCHOR_GENERATOR.SIZES": [[12, 16], [24, 32], [48, 64], [96, 128], [192, 256]],
    "RETINANET.NUM_CLASSES": 3,
    "RETINANET.NUM_CONVS": 2,
    "RETINANET.SCORE_THRESH_TEST": 0.02,
}
VARIANTS = {
    "plain": {},
    "one_class": {"RETINANET.NUM_CLASSES": 1},
    "smooth": {"RETINANET.SMOOTH_L1_LOSS_BETA": 0.1},
    "giou": {"RETINANET.BBOX_REG_LOSS_TYPE": "giou"},
    "diou": {"RETINANET.BBOX_REG_LOSS_TYPE": "diou"},
    "ciou": {"RETINANET.BBOX_REG_LOSS_TYPE": "ciou"},
    "group_norm": {"RETINANET.NORM": "GN"},
    "options": {
        "RETINANET.NUM_CONVS": 1,
        "RETINANET.PRIOR_PROB": 0.1,
        "RETINANET.IOU_THRESHOLDS": [0.3, 0.6],
        "RETINANET.BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0),
        "RETINANET.FOCAL_LOSS_ALPHA": 0.4,
        "RETINANET.FOCAL_LOSS_GAMMA": 1.5,
        "RETINANET.TOPK_CANDIDATES_TEST": 30,
        "RETINANET.NMS_THRESH_TEST": 0.7,
        "ANCHOR_GENERATOR.OFFSET": 0.5,
    },
}


@pytest.fixture(params=VARIANTS)
def models(request):
    """The embedded host's and genuine Detectron2's model, and what they are a variant of."""
    return (*(build(host, SMALL | VARIANTS[request.param]) for host in HOSTS), request.param)


def share_weights(ours, theirs):
    both_hosts.excite(theirs.head.parameters(), 0.08)
    ours.load_state_dict(theirs.state_dict(), strict=True)


def test_initial_weights_and_names(models):
    both_hosts.assert_same_weights(*models[:2])


def test_weights_load_both_ways(models):
    ours, theirs, _ = models
    share_weights(ours, theirs)
    both_hosts.assert_same_weights(ours, theirs)
    theirs.load_state_dict(ours.state_dict(), strict=True)


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in actual.items():
        torch.testing.assert_close(
            value, expected[name], rtol=1e-4, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}"
        )


def two_steps(host, model, num_objects, num_classes):
    """Losses and recorded numbers of two steps, and the gradients of their sum."""
    results = {}
    with part(host, "utils.events").EventStorage() as storage:
        for step in range(2):  # the second divides by another average of the positives
            losses = model.train()(inputs(host, num_objects, num_classes))
            sum(losses.values()).backward()
            results |= {f"{name} {step}": value.detach() for name, value in losses.items()}
        results |= {name: value for name, (value, _) in storage.latest().items()}
    return results, {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("num_objects", [(3, 2), (4, 0), (0, 0)], ids=str)
def test_training(models, num_objects):
    *models, variant = models
    share_weights(*models)
    num_classes = 1 if variant == "one_class" else 3
    ours, theirs = (
        two_steps(host, model, num_objects, num_classes)
        for host, model in zip(HOSTS, models, strict=True)
    )
    assert_same(ours[0], theirs[0])
    assert_same(ours[1], theirs[1])
    assert theirs[0]["loss_cls 0"] != theirs[0]["loss_cls 1"]


def test_detections(models):
    share_weights(*models[:2])
    both_hosts.assert_same_detections(models[:2])
