"""The embedded host's networks against genuine Detectron2's, where it can be imported."""

import pytest
import torch

pytest.importorskip("detectron2", reason="genuine Detectron2 is not importable")

import detectron2.config  # noqa: E402
import detectron2.layers  # noqa: E402
import detectron2.modeling  # noqa: E402
import detectron2.modeling.anchor_generator  # noqa: E402
import detectron2.modeling.box_regression  # noqa: E402
import detectron2.structures  # noqa: E402
from embedded_host import config, layers, modeling, structures  # noqa: E402
from embedded_host.modeling import box_regression  # noqa: E402

HOSTS = ((config, modeling), (detectron2.config, detectron2.modeling))
BACKBONES = {
    "r18": {"DEPTH": 18, "RES2_OUT_CHANNELS": 64, "NORM": "BN"},
    "r50": {"DEPTH": 50},
    "r50_in_3x3": {"DEPTH": 50, "STRIDE_IN_1X1": False, "NORM": "SyncBN"},
    "r50_dilated": {"DEPTH": 50, "RES5_DILATION": 2, "NORM": "GN"},
    "x50": {"DEPTH": 50, "NUM_GROUPS": 32, "WIDTH_PER_GROUP": 4, "STRIDE_IN_1X1": False},
}


def build_both(name, options, fpn=(), freeze_at=2):
    """Build one backbone on both hosts from the same seed."""
    backbones = []
    for host_config, host_modeling in HOSTS:
        cfg = host_config.get_cfg()
        cfg.MODEL.BACKBONE.NAME = name
        cfg.MODEL.BACKBONE.FREEZE_AT = freeze_at
        cfg.MODEL.RESNETS.OUT_FEATURES = ["res3", "res4", "res5"]
        cfg.MODEL.RESNETS.update(options)
        cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
        cfg.MODEL.FPN.update(fpn)
        torch.manual_seed(3)
        backbones.append(host_modeling.build_backbone(cfg))
    return backbones


def described(state):
    return {key: (tuple(value.shape), value.dtype) for key, value in state.items()}


def randomize_norms(state):
    for key, value in state.items():
        if "norm" in key and value.is_floating_point():
            value.uniform_(0.5, 1.5)


def assert_same_features(ours, theirs):
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected, actual = theirs.eval()(x), ours.eval()(x)
    assert list(actual) == list(expected)
    for key in actual:
        torch.testing.assert_close(actual[key], expected[key], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "builder", ["build_resnet_fpn_backbone", "build_retinanet_resnet_fpn_backbone"]
)
@pytest.mark.parametrize("options", ["r18", "r50", "r50_in_3x3", "x50"])
def test_pyramids(builder, options):
    fpn = {"NORM": "GN", "FUSE_TYPE": "avg"} if options == "r50" else {}
    ours, theirs = build_both(builder, BACKBONES[options], fpn)
    state = theirs.state_dict()
    assert described(ours.state_dict()) == described(state)
    assert list(ours.state_dict()) == list(state)
    for key, value in ours.state_dict().items():
        assert torch.equal(value, state[key]), f"{key} is initialized differently"
    randomize_norms(state)
    ours.load_state_dict(state)
    assert_same_features(ours, theirs)
    shapes = {key: (shape.channels, shape.stride) for key, shape in theirs.output_shape().items()}
    assert {k: (s.channels, s.stride) for k, s in ours.output_shape().items()} == shapes
    assert ours.size_divisibility == theirs.size_divisibility
    assert ours.padding_constraints == theirs.padding_constraints
    trainable = [name for name, p in theirs.named_parameters() if p.requires_grad]
    assert [name for name, p in ours.named_parameters() if p.requires_grad] == trainable


def test_dilated_resnet():
    ours, theirs = build_both("build_resnet_backbone", BACKBONES["r50_dilated"], freeze_at=0)
    ours.load_state_dict(theirs.state_dict())
    assert_same_features(ours, theirs)


def test_gradients_with_frozen_statistics():
    ours, theirs = build_both("build_resnet_fpn_backbone", BACKBONES["r18"] | {"NORM": "FrozenBN"})
    x = torch.rand(1, 3, 64, 64)
    for backbone in (ours, theirs):
        sum(level.square().mean() for level in backbone.train()(x).values()).backward()
    genuine = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        q = genuine[name]
        assert (p.grad is None) == (q.grad is None), name
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_frozen_norm_loads_the_same():
    state = {"weight": torch.rand(4), "bias": torch.rand(4)}
    x = torch.randn(2, 4, 3, 3)
    outputs = []
    for host in (layers, detectron2.layers):
        norm = host.FrozenBatchNorm2d(4)
        norm.load_state_dict(dict(state), strict=False)
        outputs.append(norm(x))
    torch.testing.assert_close(outputs[0], outputs[1])


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_anchors(offset):
    arguments = {
        "sizes": [[32, 40], [64]],
        "aspect_ratios": [[0.5, 1.0, 2.0]],
        "strides": [8, 16],
        "offset": offset,
    }
    features = [torch.rand(1, 1, 7, 9), torch.rand(1, 1, 4, 5)]
    ours = modeling.anchor_generator.DefaultAnchorGenerator(**arguments)
    theirs = detectron2.modeling.anchor_generator.DefaultAnchorGenerator(**arguments)
    assert ours.num_anchors == theirs.num_anchors
    for actual, expected in zip(ours(features), theirs(features), strict=True):
        torch.testing.assert_close(actual.tensor, expected.tensor)


def test_box_transform():
    torch.manual_seed(0)
    corner = torch.rand(2, 9, 2) * 40
    source, target = torch.cat([corner, corner + 3 + torch.rand(2, 9, 2) * 30], dim=-1)
    deltas = torch.randn(9, 8) * 3
    ours = box_regression.Box2BoxTransform((10.0, 10.0, 5.0, 5.0))
    theirs = detectron2.modeling.box_regression.Box2BoxTransform((10.0, 10.0, 5.0, 5.0))
    encoded = theirs.get_deltas(source, target)
    torch.testing.assert_close(ours.get_deltas(source, target), encoded, rtol=1e-5, atol=1e-5)
    decoded = theirs.apply_deltas(deltas, source)
    torch.testing.assert_close(ours.apply_deltas(deltas, source), decoded, rtol=1e-5, atol=1e-4)


def test_postprocessing_and_overlap():
    torch.manual_seed(1)
    corner = torch.rand(12, 2) * 120 - 20
    tensor = torch.cat([corner, corner + torch.rand(12, 2) * 60], dim=1)
    outputs, overlaps = [], []
    for host, host_modeling in (
        (structures, modeling),
        (detectron2.structures, detectron2.modeling),
    ):
        boxes = host.Boxes(tensor.clone())
        overlaps.append(host.pairwise_iou(boxes, boxes))
        results = host.Instances((90, 70), pred_boxes=boxes, scores=torch.arange(12.0))
        outputs.append(host_modeling.postprocessing.detector_postprocess(results, 45, 210))
    torch.testing.assert_close(overlaps[0], overlaps[1])
    torch.testing.assert_close(outputs[0].pred_boxes.tensor, outputs[1].pred_boxes.tensor)
    assert torch.equal(outputs[0].scores, outputs[1].scores)
