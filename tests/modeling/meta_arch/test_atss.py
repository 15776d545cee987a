"""ATSS from a config, and beside the official class where that can be had."""

import importlib.util
import os
import sys
import types
from pathlib import Path

import pytest
import torch
from fvcore.common.registry import Registry
from fvcore.nn import sigmoid_focal_loss
from torch import nn

from dyhead.d2 import HOST
from dyhead.d2.modeling import build_model
from dyhead.modeling.meta_arch import ATSS

OFFICIAL = os.environ.get("DYNAMICHEAD_SOURCE", "")
needs_official = pytest.mark.skipif(
    not OFFICIAL or HOST != "detectron2",
    reason="needs DYNAMICHEAD_SOURCE (a checkout of microsoft/DynamicHead) and genuine Detectron2",
)


def test_every_key_reaches_the_model(cfg):
    atss = cfg.MODEL.ATSS
    atss.TOPK, atss.REG_LOSS_WEIGHT = 5, 3.0
    atss.FOCAL_LOSS_ALPHA, atss.FOCAL_LOSS_GAMMA, atss.PRIOR_PROB = 0.3, 1.5, 0.5
    atss.INFERENCE_TH, atss.PRE_NMS_TOP_N, atss.NMS_TH = 0.1, 50, 0.7
    atss.BBOX_REG_WEIGHTS = (1.0, 2.0, 3.0, 4.0)
    atss.NUM_CONVS, atss.CHANNELS, atss.USE_GN = 2, 16, False
    atss.BBOX_REG_LOSS_TYPE = "ciou"
    cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [0.5, 1.0]
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    cfg.INPUT.FORMAT, cfg.TEST.DETECTIONS_PER_IMAGE = "RGB", 9
    model = build_model(cfg)
    assert isinstance(model, ATSS)
    assert model.candidates_per_level == 10
    assert (model.focal_loss_alpha, model.focal_loss_gamma) == (0.3, 1.5)
    assert (model.box_reg_loss_type, model.box_reg_loss_weight) == ("ciou", 3.0)
    assert (model.test_score_thresh, model.test_topk_candidates) == (0.1, 50)
    assert (model.test_nms_thresh, model.max_detections_per_image) == (0.7, 9)
    assert tuple(model.box2box_transform.weights) == (1.0, 2.0, 3.0, 4.0)
    assert model.pixel_mean.flatten().tolist() == [1, 2, 3]
    assert model.pixel_std.flatten().tolist() == [4, 5, 6]
    assert model.input_format == "RGB"
    assert model.head.cls_logits.weight.shape == (2 * 3, 16, 1, 1)
    assert [type(layer) for layer in model.head.cls_tower] == [nn.Conv2d, nn.ReLU] * 2
    assert not model.head.cls_logits.bias.any()


@pytest.mark.parametrize("num_convs", [0, 1])
def test_a_model_from_a_config_trains_and_detects(cfg, batch, num_convs):
    cfg.MODEL.ATSS.NUM_CONVS, cfg.MODEL.ATSS.USE_GN = num_convs, False
    model = build_model(cfg)
    losses = model(batch)
    assert list(losses) == ["loss_cls", "loss_ctr", "loss_box_reg"]
    sum(losses.values()).backward()
    with torch.no_grad():
        outputs = model.eval()(batch)
    assert len(outputs) == len(batch)
    assert outputs[0]["instances"].has("pred_classes")


def test_default_anchors_of_several_sizes_and_ratios_work(cfg, batch):
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32, 64, 128]]
    cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [[0.5, 1.0, 2.0]]
    model = build_model(cfg)
    assert model.candidates_per_level == 9 * 9
    assert all(value.isfinite() for value in model(batch).values())


def test_an_unknown_feature_is_answered_with_the_known_ones(cfg):
    cfg.MODEL.ATSS.IN_FEATURES = ["p2", "p3"]
    with pytest.raises(ValueError, match="p2.*p3, p4, p5, p6, p7"):
        build_model(cfg)


def test_unused_features_are_logged(cfg, caplog):
    cfg.MODEL.ATSS.IN_FEATURES = ["p3", "p4", "p5"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[64], [128], [256]]
    build_model(cfg)
    assert "p6, p7" in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("TOPK", 0, "TOPK is 0: .* 1 candidate or more"),
        ("PRIOR_PROB", 0.0, "PRIOR_PROB is 0.0: .* above 0 and below 1"),
        ("PRIOR_PROB", 1.0, "PRIOR_PROB is 1.0: .* above 0 and below 1"),
    ],
)
def test_values_that_nothing_can_be_learned_with_are_refused(cfg, key, value, message):
    cfg.MODEL.ATSS[key] = value
    with pytest.raises(ValueError, match=message):
        build_model(cfg)


def test_levels_with_different_numbers_of_anchors_are_refused(cfg):
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[64, 80], [128], [256], [512], [1024]]
    with pytest.raises(ValueError, match=r"ANCHOR_GENERATOR gives \[2, 1, 1, 1, 1\]"):
        build_model(cfg)


class FocalLossOnLabels(nn.Module):
    """The official CUDA kernel's loss: labels from 1, with 0 for the background."""

    def __init__(self, gamma, alpha):
        super().__init__()
        self.gamma, self.alpha = gamma, alpha

    def forward(self, logits, labels):
        targets = nn.functional.one_hot(labels.long(), logits.shape[1] + 1)[:, 1:]
        return sigmoid_focal_loss(logits, targets, self.alpha, self.gamma, reduction="sum")


@pytest.fixture
def official_class(monkeypatch):
    """The official ATSS, with its compiled focal loss replaced and outside our registry."""
    focal = types.ModuleType("official_extra.sigmoid_focal_loss")
    focal.SigmoidFocalLoss = FocalLossOnLabels
    package = types.ModuleType("official_extra")
    package.__path__ = [str(Path(OFFICIAL) / "extra")]
    monkeypatch.setitem(sys.modules, "official_extra", package)
    monkeypatch.setitem(sys.modules, "official_extra.sigmoid_focal_loss", focal)
    build = importlib.import_module("detectron2.modeling.meta_arch.build")
    monkeypatch.setattr(build, "META_ARCH_REGISTRY", Registry("OFFICIAL"))
    path = Path(OFFICIAL) / "extra" / "atss.py"
    spec = importlib.util.spec_from_file_location("official_extra.atss", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ATSS


@pytest.fixture
def models(cfg, official_class):
    """Ours and the official one, with the same lively weights."""

    def build(num_convs=0, ratios=(1.0,)):
        atss = cfg.MODEL.ATSS
        atss.NUM_CONVS, atss.CHANNELS = num_convs, 32 if num_convs else atss.CHANNELS
        cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = list(ratios)
        atss.IOU_THRESHOLDS, atss.IOU_LABELS = [0.4, 0.5], [0, -1, 1]
        torch.manual_seed(5)
        ours, official = build_model(cfg), official_class(cfg)
        for parameter in ours.head.parameters():
            nn.init.normal_(parameter, std=0.3)
        official.load_state_dict(ours.state_dict())
        return ours, official

    return build


def official_batch(make_input, rounded, height=200, width=260):
    generator = torch.Generator().manual_seed(11)
    batch = []
    for seed in range(3):
        corner = torch.rand(7, 2, generator=generator) * torch.tensor([width - 40, height - 40])
        extent = 10 + torch.rand(7, 2, generator=generator) ** 2 * 150
        boxes = torch.cat([corner, corner + extent], dim=1)
        boxes = (boxes / 4).round() * 4 if rounded else boxes
        batch.append(make_input(seed, (height, width), boxes.tolist(), [0, 1, 2, 0, 1, 2, 0]))
    return batch


@needs_official
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize(("num_convs", "ratios"), [(0, (1.0,)), (2, (1.0,)), (0, (0.5, 1.0, 2.0))])
def test_losses_and_gradients_equal_official(models, make_input, rounded, num_convs, ratios):
    ours, official = models(num_convs, ratios)
    batch = official_batch(make_input, rounded)
    losses, expected = ours(batch), official(batch)
    assert losses.keys() == expected.keys()
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
    sum(losses.values()).backward()
    sum(expected.values()).backward()
    reference = dict(official.named_parameters())
    for name, parameter in ours.named_parameters():
        difference = (parameter.grad - reference[name].grad).norm()
        assert difference <= 1e-4 * reference[name].grad.norm(), name


@needs_official
@pytest.mark.parametrize(("num_convs", "ratios"), [(0, (1.0,)), (2, (1.0,)), (0, (0.5, 1.0, 2.0))])
def test_detections_equal_official(models, make_input, num_convs, ratios):
    ours, official = models(num_convs, ratios)
    batch = [x | {"height": 300, "width": 390} for x in official_batch(make_input, rounded=False)]
    with torch.no_grad():
        outputs, expected = ours.eval()(batch), official.eval()(batch)
    for output, reference in zip(outputs, expected, strict=True):
        found, official_found = output["instances"], reference["instances"]
        assert len(found) == len(official_found) > 10
        torch.testing.assert_close(found.scores, official_found.scores, rtol=1e-5, atol=1e-6)
        assert torch.equal(found.pred_classes, official_found.pred_classes)
        torch.testing.assert_close(
            found.pred_boxes.tensor, official_found.pred_boxes.tensor, rtol=1e-5, atol=1e-3
        )
