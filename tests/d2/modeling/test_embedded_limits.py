"""Differences of the embedded host: one clear sentence for what it lacks, and fewer surprises."""

import pytest
import torch
from embedded_host.config import get_cfg
from embedded_host.layers import ShapeSpec
from embedded_host.modeling.anchor_generator import DefaultAnchorGenerator
from embedded_host.modeling.backbone.build import BACKBONE_REGISTRY, build_backbone
from embedded_host.modeling.backbone.fpn import build_retinanet_resnet_fpn_backbone
from embedded_host.modeling.backbone.resnet import ResNet, build_resnet_backbone
from embedded_host.modeling.meta_arch import build_model
from embedded_host.modeling.postprocessing import detector_postprocess
from embedded_host.structures import Boxes, Instances


def test_deformable_stages():
    cfg = get_cfg()
    cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE = [False, False, False, True]
    with pytest.raises(ValueError, match=r"MODEL\.RESNETS\.DEFORM_ON_PER_STAGE.*False"):
        build_resnet_backbone(cfg, ShapeSpec(channels=3))


def test_depths():
    cfg = get_cfg()
    cfg.MODEL.RESNETS.DEPTH = 77
    with pytest.raises(ValueError, match="77.*50"):
        build_resnet_backbone(cfg, ShapeSpec(channels=3))
    with pytest.raises(ValueError, match="77.*50"):
        ResNet.make_default_stages(77)


def test_p6_needs_res5():
    cfg = get_cfg()
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res4"]
    with pytest.raises(ValueError, match=r"MODEL\.RESNETS\.OUT_FEATURES.*res5"):
        build_retinanet_resnet_fpn_backbone(cfg, ShapeSpec(channels=3))


def test_fpn_names_the_size_to_pad_to():
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.update({"DEPTH": 18, "RES2_OUT_CHANNELS": 64})
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    with pytest.raises(ValueError, match="multiple of 32"):
        build_backbone(cfg)(torch.rand(1, 3, 40, 64))


def test_backbones_are_backbones():
    def build_no_backbone(cfg, input_shape):
        return torch.nn.Identity()

    if "build_no_backbone" not in BACKBONE_REGISTRY:
        BACKBONE_REGISTRY.register(build_no_backbone)
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_no_backbone"
    with pytest.raises(TypeError, match="build_no_backbone.*Identity"):
        build_backbone(cfg)


def test_empty_feature_map_has_no_anchors():
    generator = DefaultAnchorGenerator(sizes=[32], aspect_ratios=[1.0], strides=[8])
    assert generator([torch.rand(1, 4, 0, 3)])[0].tensor.shape == (0, 4)


def test_masks_and_keypoints():
    results = Instances((4, 4), pred_boxes=Boxes([[0, 0, 1, 1]]), pred_masks=torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="pred_masks"):
        detector_postprocess(results, 8, 8)


def test_postprocessing_leaves_its_input_alone():
    results = Instances((4, 4), pred_boxes=Boxes([[0, 0, 1, 1]]))
    detector_postprocess(results, 8, 8)
    assert results.pred_boxes.tensor.tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize(
    "options",
    [
        {"META_ARCHITECTURE": "RetinaNet", "RETINANET.BBOX_REG_LOSS_TYPE": "huber"},
        {"RPN.BBOX_REG_LOSS_TYPE": "huber"},
        {"ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": "huber"},
    ],
)
def test_losses_of_boxes_are_refused_before_the_training(options):
    cfg = get_cfg()
    cfg.MODEL.RESNETS.update({"DEPTH": 18, "RES2_OUT_CHANNELS": 64})
    cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.DEVICE = "StandardROIHeads", "cpu"
    cfg.MODEL.ROI_BOX_HEAD.update({"NAME": "FastRCNNConvFCHead", "NUM_FC": 1, "FC_DIM": 8})
    if "META_ARCHITECTURE" in options:
        cfg.MODEL.RETINANET.IN_FEATURES = ["res4"]
    cfg.merge_from_list([part for k, v in options.items() for part in (f"MODEL.{k}", v)])
    key = next(f"MODEL.{option}" for option in options if option.endswith("LOSS_TYPE"))
    with pytest.raises(ValueError, match=f"^{key} is 'huber': use smooth_l1, giou"):
        build_model(cfg)
