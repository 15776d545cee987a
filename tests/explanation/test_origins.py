"""The place that is named for a detection is the one whose prediction it is."""

from pathlib import Path

import pytest
import torch

from dyhead.config import load_config
from dyhead.d2 import HOST
from dyhead.detector import build_detector
from dyhead.errors import UserError
from dyhead.explanation.origins import check_explained, find_origins
from dyhead.layers import record_attentions

CONFIG = Path(__file__).parents[2] / "configs" / "Base-ATSS-DyHead-R18-small.yaml"
SECTIONS = {
    "ATSS": "ATSS",
    "FCOS": "FCOS",
    "RepPoints": "REPPOINTS",
    "DyHeadRetinaNet": "RETINANET",
    "RetinaNet": "RETINANET",
}


def build(architecture):
    pairs = ["MODEL.META_ARCHITECTURE", architecture, "MODEL.DEVICE", "cpu"]
    cfg, _ = load_config(str(CONFIG), [*pairs, "MODEL.DYHEAD.NUM_CONVS", "1"])
    cfg.MODEL.PADDING_IN_STATISTICS = True  # the host's RetinaNet has no other way
    section = cfg.MODEL[SECTIONS.get(architecture, "ATSS")]
    section.NUM_CLASSES = 3
    if section is cfg.MODEL.RETINANET:
        cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[s, 1.5 * s] for s in (16, 32, 64, 128, 256)]
        cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [[0.5, 1.0, 2.0]]
    torch.manual_seed(3)
    model = build_detector(cfg)
    for name, parameter in model.head.named_parameters():
        torch.nn.init.normal_(parameter, std=0.05 if "weight" in name else 0.2)
    return model.requires_grad_(False)


def run(model, size=(96, 128)):
    """The detections, the sizes of the levels, and the maps of the head."""
    maps = []
    handle = model.head.register_forward_hook(lambda *parts: maps.append(parts[2]))
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad(), record_attentions(model) as (record,):
        (found,) = model([{"image": image, "height": size[0], "width": size[1]}])
    handle.remove()
    return found["instances"], record.sizes, maps[0]


@pytest.mark.parametrize("architecture", SECTIONS)
def test_the_score_at_the_origin_is_the_detections(architecture):
    model = build(architecture)
    instances, sizes, maps = run(model)
    if architecture == "RetinaNet" and HOST == "detectron2":
        with pytest.raises(UserError, match="does not tell which anchors"):
            find_origins(model, instances, sizes)
        return
    origins = find_origins(model, instances, sizes)
    assert len(origins) == len(instances) > 10
    assert len({origin.level for origin in origins}) > 1
    for index, origin in enumerate(origins):
        level, row, column, anchor = origin
        logits = maps[0][level][0, :, row, column].view(-1, model.num_classes)
        score = logits[anchor, instances.pred_classes[index]].sigmoid()
        if architecture in ("ATSS", "FCOS"):
            score = score * maps[2][level][0, anchor, row, column].sigmoid()
        assert score.item() == pytest.approx(instances.scores[index].item(), rel=1e-5)


@pytest.mark.parametrize("architecture", ["ATSS", "DyHeadRetinaNet"])
def test_the_box_at_the_origin_is_the_detections(architecture):
    model = build(architecture)
    instances, sizes, maps = run(model)
    for index, (level, row, column, anchor) in enumerate(find_origins(model, instances, sizes)):
        deltas = maps[1][level][0, :, row, column].view(-1, 4)[anchor]
        generator = model.anchor_generator
        shift = torch.tensor([column, row, column, row]) * generator.strides[level]
        half = generator.offset * generator.strides[level]
        box = list(generator.cell_anchors)[level][anchor] + shift + half
        decoded = model.box2box_transform.apply_deltas(deltas[None], box[None])[0]
        decoded = decoded.clamp(min=0).minimum(torch.tensor([128.0, 96, 128, 96]))
        torch.testing.assert_close(decoded, instances.pred_boxes.tensor[index], atol=1e-2, rtol=0)


def test_two_stage_detectors_are_refused_in_a_sentence():
    cfg, _ = load_config("dyhead_r50_rcnn_fpn_1x", ["MODEL.DEVICE", "cpu"])
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    cfg.MODEL.DYHEAD.NUM_CONVS = 1
    with pytest.raises(UserError, match="GeneralizedRCNN cannot be explained"):
        check_explained(build_detector(cfg))
