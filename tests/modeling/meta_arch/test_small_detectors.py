"""Every one-stage detector behind DyHead on ResNet-18: one training step, one inference."""

from pathlib import Path

import pytest
import torch

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.config import load_config
from dyhead.d2.modeling import build_model
from dyhead.d2.utils.events import EventStorage

CONFIG = Path(__file__).parents[3] / "configs" / "Base-ATSS-DyHead-R18-small.yaml"
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.FPN.OUT_CHANNELS": 32,
    "MODEL.DYHEAD.CHANNELS": 32,
}
DETECTORS = {
    "ATSS": {},
    "FCOS": {"MODEL.FCOS.CHANNELS": 64, "MODEL.FCOS.LEVEL_LIMITS": [24, 32, 40, 56]},
    "DyHeadRetinaNet": {},
}
BOXES = [
    [*(6.0, 5.0), *(30.0, 33.0)],
    [*(8.0, 48.0), *(61.0, 100.0)],
    [*(30.0, 10.0), *(120.0, 110.0)],
    [*(70.0, 60.0), *(126.0, 126.0)],
    [*(0.0, 0.0), *(128.0, 128.0)],
    [*(80.0, 8.0), *(122.0, 44.0)],
]


def build(architecture, section, num_blocks, num_convs):
    settings = SMALL | DETECTORS[architecture]
    settings |= {"MODEL.META_ARCHITECTURE": architecture, "MODEL.DYHEAD.NUM_CONVS": num_blocks}
    settings |= {f"MODEL.{section}.NUM_CONVS": num_convs, f"MODEL.{section}.NUM_CLASSES": 3}
    opts = [str(part) for item in settings.items() for part in item]
    torch.manual_seed(0)
    return build_model(load_config(str(CONFIG), opts)[0])


@pytest.mark.parametrize("architecture", DETECTORS)
@pytest.mark.parametrize(("num_blocks", "num_convs"), [(2, 0), (1, 1), (0, 0)])
def test_it_trains_every_parameter_and_detects(make_input, architecture, num_blocks, num_convs):
    section = "RETINANET" if architecture == "DyHeadRetinaNet" else architecture
    model = build(architecture, section, num_blocks, num_convs)
    assert count_tower(model) == (num_convs or (0 if num_blocks else 4))
    batch = [
        make_input(1, (128, 128), BOXES, [0, 1, 2, 0, 1, 2]),
        make_input(2, (100, 120), BOXES[:1], [1]),
    ]
    with EventStorage():
        losses = model(batch)
    assert all(value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad, name
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # A level without positives has nothing to learn about its scale.
        assert parameter.grad.any() or ".scales." in name, name
    with torch.no_grad():
        outputs = model.eval()([batch[0], batch[1] | {"height": 200, "width": 240}])
    assert [x["instances"].image_size for x in outputs] == [(128, 128), (200, 240)]
    for x in outputs:
        fields = x["instances"].get_fields()
        # two-stage detectors, and the genuine host's RetinaNet, do not tell the origin
        origin = {"pred_levels", "pred_anchors"} & set(fields)
        assert set(fields) == {"pred_boxes", "scores", "pred_classes"} | origin
        assert len(origin) in (0, 2)


def count_tower(model):
    tower = model.head.cls_subnet if hasattr(model.head, "cls_subnet") else model.head.cls_tower
    return sum(isinstance(layer, torch.nn.Conv2d) for layer in tower)
