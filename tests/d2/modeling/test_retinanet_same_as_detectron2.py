"""The embedded host's RetinaNet against genuine Detectron2's, where it can be imported.

Both hosts build the same small RetinaNet; equal weights have to give equal losses, gradients and
detections.
"""

import importlib

import pytest
import torch

pytest.importorskip("detectron2", reason="genuine Detectron2 is not importable")

HOSTS = ("dyhead.d2._embedded", "detectron2")
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
        for parameter in model.head.parameters():
            parameter.normal_(std=0.08)
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


@pytest.fixture(params=VARIANTS)
def models(request):
    """The embedded host's and genuine Detectron2's model, and what they are a variant of."""
    return (*(build(host, request.param) for host in HOSTS), request.param)


def test_initial_weights_and_names(models):
    ours, theirs, _ = models
    initial = theirs.state_dict()
    assert list(ours.state_dict()) == list(initial)
    for key, value in ours.state_dict().items():
        assert torch.equal(value, initial[key]), f"{key} is initialized differently"


def test_weights_load_both_ways(models):
    ours, theirs, _ = models
    ours.load_state_dict(excite(theirs).state_dict(), strict=True)
    for key, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[key]), key
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
    models[0].load_state_dict(excite(models[1]).state_dict())
    num_classes = 1 if variant == "one_class" else 3
    ours, theirs = (
        two_steps(host, model, num_objects, num_classes)
        for host, model in zip(HOSTS, models, strict=True)
    )
    assert_same(ours[0], theirs[0])
    assert_same(ours[1], theirs[1])
    assert theirs[0]["loss_cls 0"] != theirs[0]["loss_cls 1"]


def test_detections(models):
    *models, _ = models
    models[0].load_state_dict(excite(models[1]).state_dict())
    with torch.no_grad():
        outputs = [model.eval()(inputs(host)) for host, model in zip(HOSTS, models, strict=True)]
    for actual, expected in zip(*outputs, strict=True):
        assert actual.keys() == expected.keys()
        (actual,), (expected,) = actual.values(), expected.values()
        assert len(actual) == len(expected) > 5
        assert actual.image_size == expected.image_size == (128, 100)
        fields = [
            {name: getattr(value, "tensor", value) for name, value in x.get_fields().items()}
            for x in (actual, expected)
        ]
        assert_same(*fields)
