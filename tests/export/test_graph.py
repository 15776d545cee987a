"""The graph of tensors gives what the detector gives, for every architecture that has one."""

from pathlib import Path

import pytest
import torch
from torchvision.ops import batched_nms, clip_boxes_to_image

from dyhead.config import load_config
from dyhead.detector import build_detector
from dyhead.errors import UserError
from dyhead.export.graph import DetectionGraph

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.FPN.OUT_CHANNELS": 32,
    "MODEL.DYHEAD.CHANNELS": 32,
    "MODEL.DYHEAD.NUM_CONVS": 1,
    "MODEL.DYHEAD.OFFSET_INIT": "default",  # or equal corners of the images had equal scores
    "TEST.DETECTIONS_PER_IMAGE": 30,
}
DETECTORS = {
    "ATSS": {"MODEL.ATSS.PRIOR_PROB": 0.3, "MODEL.ATSS.NUM_CLASSES": 3},
    "ATSS, padded": {
        "MODEL.ATSS.PRIOR_PROB": 0.3,
        "MODEL.ATSS.NUM_CLASSES": 3,
        "MODEL.PADDING_IN_STATISTICS": True,
    },
    "ATSS, clipped first, all detections, one class": {
        "MODEL.ATSS.PRIOR_PROB": 0.3,
        "MODEL.ATSS.NUM_CLASSES": 1,
        "MODEL.ATSS.CLIP_BEFORE_NMS": True,
        "TEST.DETECTIONS_PER_IMAGE": -1,
    },
    "ATSS, ranked by class, few candidates": {
        "MODEL.ATSS.PRIOR_PROB": 0.3,
        "MODEL.ATSS.NUM_CLASSES": 3,
        "MODEL.ATSS.RANK_BY_CENTERNESS": False,
        "MODEL.ATSS.PRE_NMS_TOP_N": 20,
    },
    "FCOS": {"MODEL.FCOS.PRIOR_PROB": 0.3, "MODEL.FCOS.NUM_CLASSES": 3},
    "RepPoints": {
        "MODEL.REPPOINTS.PRIOR_PROB": 0.3,
        "MODEL.REPPOINTS.NUM_CLASSES": 3,
        "MODEL.REPPOINTS.POINT_CHANNELS": 32,
    },
    "RetinaNet": {
        "MODEL.RETINANET.PRIOR_PROB": 0.3,
        "MODEL.RETINANET.NUM_CLASSES": 3,
        "MODEL.PADDING_IN_STATISTICS": True,
    },
    "DyHeadRetinaNet": {"MODEL.RETINANET.PRIOR_PROB": 0.3, "MODEL.RETINANET.NUM_CLASSES": 3},
}


def build(architecture, **settings):
    settings = {**SMALL, "MODEL.META_ARCHITECTURE": architecture.partition(",")[0], **settings}
    opts = [str(part) for item in settings.items() for part in item]
    cfg, _ = load_config(str(CONFIGS / "Base-ATSS-DyHead-R18-small.yaml"), opts)
    torch.manual_seed(1)
    model = build_detector(cfg)
    for name, parameter in model.named_parameters():  # scores that differ
        if name.endswith(("cls_logits.weight", "cls_score.weight")):
            parameter.data.normal_(std=0.3 / parameter.shape[-1])
    return model


@pytest.fixture(params=DETECTORS)
def model(request):
    return build(request.param, **DETECTORS[request.param])


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (2, 3, 10, 18), generator=generator, dtype=torch.uint8)
    return coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)[:, :, :75, :140]


@torch.no_grad()
def test_it_detects_what_the_detector_detects(model, images):
    boxes, scores, classes, counts = DetectionGraph(model)(images)
    expected = [output["instances"] for output in model([{"image": image} for image in images])]
    assert counts.tolist() == [len(instances) for instances in expected]
    assert all(counts > 5)
    for index, instances in enumerate(expected):
        count = len(instances)
        torch.testing.assert_close(
            boxes[index, :count], instances.pred_boxes.tensor, rtol=0, atol=1e-3
        )
        torch.testing.assert_close(scores[index, :count], instances.scores, rtol=0, atol=1e-5)
        assert torch.equal(classes[index, :count], instances.pred_classes)


@torch.no_grad()
def test_what_is_behind_the_last_detection_says_so(images):
    model = build("ATSS", **DETECTORS["ATSS, padded"])
    found = DetectionGraph(model)(images)[1]
    model.test_score_thresh = float(found[:, 10].min())  # of the class alone, so fewer pass
    boxes, scores, classes, counts = DetectionGraph(model)(images)
    assert counts.min() > 0 and counts.max() < scores.shape[1]
    behind = torch.arange(scores.shape[1]) >= counts[:, None]
    assert (boxes[behind] == 0).all() and (scores[behind] == 0).all()
    assert (classes[behind] == -1).all() and (classes[~behind] >= 0).all()
    assert (scores[~behind] > 0).all()


@torch.no_grad()
def test_suppression_of_what_precedes_it_gives_the_detections(model, images):
    all_boxes, all_scores = DetectionGraph(model, with_nms=False)(images)
    expected = DetectionGraph(model)(images)
    if model.test_topk_candidates < 100:
        pytest.skip("the best of each level, which these outputs do not tell apart")
    for index in range(len(images)):
        anchors, classes = torch.nonzero(all_scores[index], as_tuple=True)
        boxes, scores = all_boxes[index, anchors], all_scores[index, anchors, classes]
        wanted = model.max_detections_per_image
        keep = batched_nms(boxes, scores, classes, model.test_nms_thresh)
        keep = keep[: wanted if wanted >= 0 else None]
        clipped = clip_boxes_to_image(boxes[keep], (75, 140))
        keep = keep[(clipped[:, 2:] > clipped[:, :2]).all(1)]
        count = int(expected[3][index])
        torch.testing.assert_close(expected[1][index, :count], scores[keep])
        found = expected[2][index, :count]  # equal scores may come in any order
        assert torch.equal(found.bincount(minlength=3), classes[keep].bincount(minlength=3))


def test_the_paddings_size_does_not_show_in_the_result():
    for padding, divisor in ((True, 128), (False, 8)):
        model = build("ATSS", **DETECTORS["ATSS"], **{"MODEL.PADDING_IN_STATISTICS": padding})
        graph = DetectionGraph(model)
        assert graph.size_divisibility == model.backbone.size_divisibility == divisor


def test_a_two_stage_detector_is_refused_in_one_sentence():
    model = build("GeneralizedRCNN", **{"MODEL.ROI_HEADS.NUM_CLASSES": 3, **RCNN})
    with pytest.raises(
        UserError, match="GeneralizedRCNN cannot be exported.*: ATSS, .*FCOS, .*can"
    ):
        DetectionGraph(model)


LEVELS = "['p3', 'p4', 'p5', 'p6', 'p7']"
RCNN = {
    "MODEL.RPN.IN_FEATURES": LEVELS,
    "MODEL.ROI_HEADS.IN_FEATURES": LEVELS,
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
}
