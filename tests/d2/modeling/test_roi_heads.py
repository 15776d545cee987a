import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dyhead.d2 import HOST
from dyhead.d2.config import get_cfg
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.box_regression import Box2BoxTransform
from dyhead.d2.modeling.proposal_generator import build_proposal_generator
from dyhead.d2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    StandardROIHeads,
    build_roi_heads,
    select_foreground_proposals,
)
from dyhead.d2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from dyhead.d2.structures import Boxes, ImageList, Instances
from dyhead.d2.utils.events import EventStorage

only_embedded = pytest.mark.skipif(HOST != "embedded", reason="the embedded host's own words")
SHAPES = {"a": ShapeSpec(channels=4, stride=8), "b": ShapeSpec(channels=4, stride=16)}
SIZES = [(64, 60), (50, 64)]


def small_config(**options):
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.update(
        {"NAME": "StandardROIHeads", "IN_FEATURES": ["a", "b"], "NUM_CLASSES": 3}
    )
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 8
    cfg.MODEL.ROI_BOX_HEAD.update({"NAME": "FastRCNNConvFCHead", "NUM_FC": 1, "FC_DIM": 16})
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 3
    cfg.merge_from_list([item for pair in options.items() for item in pair])
    return cfg


def regions(boxes, size=SIZES[0]):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    logits = torch.zeros(len(boxes))
    return Instances(size, proposal_boxes=Boxes(boxes), objectness_logits=logits)


def objects(boxes, classes, size=SIZES[0]):
    return Instances(size, gt_boxes=Boxes(boxes), gt_classes=torch.tensor(classes).long())


def small_batch():
    torch.manual_seed(2)
    images = ImageList(torch.rand(2, 3, 64, 64), SIZES)
    features = {"a": torch.randn(2, 4, 8, 8), "b": torch.randn(2, 4, 4, 4)}
    proposals = [
        regions([[0, 0, 10, 10], [1, 1, 10, 11], [30, 30, 50, 50], [0, 40, 60, 60]]),
        regions([[5, 5, 30, 30], [20, 20, 60, 40]], SIZES[1]),
    ]
    targets = [objects([[0.0, 0, 10, 10], [31, 30, 50, 52]], [2, 0]), objects([], [], SIZES[1])]
    return images, features, proposals, targets


def output_layers(**options):
    arguments = {
        "box2box_transform": Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0)),
        "num_classes": 5,
    }
    return FastRCNNOutputLayers(ShapeSpec(channels=8), **(arguments | options))


def test_losses_that_detectron2_expects():
    torch.manual_seed(121)
    cfg = get_cfg()
    cfg.MODEL.ROI_BOX_HEAD.update({"NAME": "FastRCNNConvFCHead", "NUM_FC": 2})
    cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS = (10, 10, 5, 5)
    images = ImageList(torch.rand(2, 20, 30), [(10, 10), (20, 30)])
    features = {"res4": torch.rand(2, 1024, 1, 2)}
    shapes = {"res4": ShapeSpec(channels=1024, stride=16)}
    gt = [
        objects(torch.tensor([[1.0, 1, 3, 3], [2, 2, 6, 6]]), [2, 1], (15, 15)),
        objects(torch.tensor([[1.0, 5, 2, 8], [7, 3, 10, 5]]), [1, 2], (15, 15)),
    ]
    torch.rand(2, 2, 15, 15)  # the masks that Detectron2's own test draws at this point
    generator = build_proposal_generator(cfg, shapes)
    heads = StandardROIHeads(cfg, shapes)
    with EventStorage():
        proposals, rpn_losses = generator(images, features, gt)
        _, losses = heads(images, features, proposals, gt)
    expected = {
        "loss_cls": 4.5253729820251465,
        "loss_box_reg": 0.009785720147192478,
        "loss_rpn_cls": 0.08186662942171097,
        "loss_rpn_loc": 0.1104838103055954,
    }
    for name, value in {**losses, **rpn_losses}.items():
        assert value.item() == pytest.approx(expected[name], rel=1e-5, abs=1e-8)


def test_losses_of_the_output_layers_that_detectron2_expects():
    torch.manual_seed(132)
    layers = output_layers()
    predictions = layers(torch.rand(2, 8))
    sampled = regions([[0.8, 1.1, 3.2, 2.8], [2.3, 2.5, 7, 8]], (10, 10))
    sampled.gt_boxes = Boxes([[1.0, 1, 3, 3], [2, 2, 6, 6]])
    sampled.gt_classes = torch.tensor([1, 2])
    with EventStorage():
        losses = layers.losses(predictions, [sampled])
    assert losses["loss_cls"].item() == pytest.approx(1.7951188087, rel=1e-5)
    assert losses["loss_box_reg"].item() == pytest.approx(4.0357131958, rel=1e-5)


@pytest.mark.parametrize("sigmoid", [False, True])
def test_no_regions_at_all(sigmoid):
    layers = output_layers(use_sigmoid_ce=sigmoid)
    logits = torch.randn(0, 6, requires_grad=True)
    deltas = torch.randn(0, 4, requires_grad=True)
    losses = layers.losses([logits, deltas], [])
    assert all(loss == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert deltas.grad is not None
    assert sigmoid or logits.grad is not None
    assert list(layers.inference([logits, deltas], [])[0]) == []


def sampled_regions(num_classes):
    torch.manual_seed(4)
    corner = torch.rand(6, 2) * 20
    sampled = regions(torch.cat([corner, corner + 10], dim=1))
    sampled.gt_boxes = Boxes(sampled.proposal_boxes.tensor + torch.rand(6, 4))
    sampled.gt_classes = torch.tensor([0, 1, 4, num_classes, num_classes, 2])
    return sampled


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_losses_against_sums_over_regions(agnostic, sigmoid):
    weights = {"loss_box_reg": 2.0}
    layers = output_layers(
        cls_agnostic_bbox_reg=agnostic, use_sigmoid_ce=sigmoid, loss_weight=weights
    )
    sampled = sampled_regions(5)
    scores, deltas = torch.randn(6, 6), torch.randn(6, 4 if agnostic else 20)
    with EventStorage() as storage:
        losses = layers.losses((scores, deltas), [sampled])
    cls_sum, box_sum = 0.0, 0.0
    for index, label in enumerate(sampled.gt_classes.tolist()):
        if sigmoid:
            target = torch.tensor([float(k == label) for k in range(5)])
            cls_sum += F.binary_cross_entropy(scores[index, :5].sigmoid(), target, reduction="sum")
        else:
            cls_sum -= scores[index].log_softmax(0)[label]
        if label < 5:
            own = deltas[index] if agnostic else deltas[index, 4 * label : 4 * label + 4]
            boxes = sampled.proposal_boxes.tensor[index : index + 1]
            wanted = layers.box2box_transform.get_deltas(
                boxes, sampled.gt_boxes.tensor[index : index + 1]
            )
            box_sum += (own - wanted[0]).abs().sum()
    torch.testing.assert_close(losses["loss_cls"], cls_sum / 6)
    torch.testing.assert_close(losses["loss_box_reg"], 2 * box_sum / 6)
    predicted, truth = scores.argmax(dim=1), sampled.gt_classes
    logged = {name: value for name, (value, _) in storage.latest().items()}
    expected = {"fast_rcnn/cls_accuracy": (predicted == truth).float().mean()}
    foreground = truth < 5
    expected["fast_rcnn/fg_cls_accuracy"] = (predicted == truth)[foreground].float().mean()
    expected["fast_rcnn/false_negative"] = (predicted == 5)[foreground].float().mean()
    assert logged == {name: pytest.approx(float(value)) for name, value in expected.items()}


def test_background_alone_has_no_box_loss_and_no_foreground_scalars():
    layers = output_layers()
    sampled = regions([[0, 0, 5, 5]])
    sampled.gt_classes = torch.tensor([5])
    predictions = layers(torch.rand(1, 8))
    with EventStorage() as storage:
        losses = layers.losses(predictions, [sampled])
    assert losses["loss_box_reg"] == 0
    assert set(storage.latest()) == {"fast_rcnn/cls_accuracy"}
    losses["loss_box_reg"].backward()
    assert (layers.bbox_pred.weight.grad == 0).all()


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_box_losses_on_boxes_are_zero_for_perfect_deltas(kind):
    layers = output_layers(box_reg_loss_type=kind, cls_agnostic_bbox_reg=True)
    sampled = sampled_regions(5)
    boxes, gt_boxes = sampled.proposal_boxes.tensor, sampled.gt_boxes.tensor
    perfect = layers.box2box_transform.get_deltas(boxes, gt_boxes)
    loss = layers.box_reg_loss(boxes, gt_boxes, perfect, sampled.gt_classes)
    torch.testing.assert_close(loss, torch.zeros(()), atol=1e-5, rtol=0)
    assert layers.box_reg_loss(boxes, gt_boxes, perfect + 1, sampled.gt_classes) > 0.1


@pytest.mark.parametrize("agnostic", [False, True])
def test_boxes_of_the_true_classes(agnostic):
    layers = output_layers(cls_agnostic_bbox_reg=agnostic)
    deltas = torch.randn(6, 4 if agnostic else 20)
    sampled = sampled_regions(5)
    (boxes,) = layers.predict_boxes_for_gt_classes((None, deltas), [sampled])
    for index, label in enumerate(sampled.gt_classes.clamp(max=4).tolist()):
        own = deltas[index] if agnostic else deltas[index, 4 * label : 4 * label + 4]
        source = sampled.proposal_boxes.tensor[index : index + 1]
        expected = layers.box2box_transform.apply_deltas(own[None], source)
        torch.testing.assert_close(boxes[index], expected[0])
    assert sampled.gt_classes.max() == 5  # unchanged


def test_probabilities():
    scores = torch.randn(3, 6)
    proposals = [regions([[0, 0, 1, 1]] * 2), regions([]), regions([[0, 0, 1, 1]])]
    softmax = output_layers().predict_probs((scores, None), proposals)
    sigmoid = output_layers(use_sigmoid_ce=True).predict_probs((scores, None), proposals)
    assert [len(p) for p in softmax] == [2, 0, 1]
    torch.testing.assert_close(torch.cat(list(softmax)), scores.softmax(dim=1))
    torch.testing.assert_close(torch.cat(list(sigmoid)), scores.sigmoid())


def infer(boxes, scores, threshold=0.1, nms=0.5, topk=10, size=(50, 50)):
    found, indices = fast_rcnn_inference([boxes], [scores], [size], threshold, nms, topk)
    return found[0], indices[0]


def test_inference_chooses_per_class():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 11], [30, 30, 70, 45]])
    scores = torch.tensor([[0.9, 0.3, 0.0], [0.8, 0.35, 0.0], [0.05, 0.6, 0.9]])
    found, indices = infer(boxes, scores)
    assert found.pred_classes.tolist() == [0, 1, 1]  # NMS within each class, background left out
    assert found.scores.tolist() == pytest.approx([0.9, 0.6, 0.35])
    assert indices.tolist() == [0, 2, 1]
    assert found.pred_boxes.tensor[1].tolist() == [30, 30, 50, 45]  # clipped
    assert len(infer(boxes, scores, topk=2)[0]) == 2
    assert len(infer(boxes, scores, topk=-1)[0]) == 3
    assert len(infer(boxes, scores, threshold=0.9)[0]) == 0  # scores have to be above it


def test_inference_with_boxes_of_each_class():
    boxes = torch.tensor([[0.0, 0, 10, 10, 20, 20, 30, 30]])
    found, _ = infer(boxes, torch.tensor([[0.4, 0.6, 0.0]]))
    assert found.pred_boxes.tensor.tolist() == [[20, 20, 30, 30], [0, 0, 10, 10]]
    assert found.pred_classes.tolist() == [1, 0]


def test_inference_drops_what_is_not_finite_and_takes_no_regions():
    boxes = torch.tensor([[0.0, 0, float("nan"), 10], [0, 0, 10, 10], [5, 5, 20, 20]])
    scores = torch.tensor([[0.9, 0.1], [float("inf"), 0.1], [0.5, 0.5]])
    assert infer(boxes, scores)[0].scores.tolist() == [0.5]
    for width in (4, 8):
        assert len(infer(torch.zeros(0, width), torch.zeros(0, 3))[0]) == 0


def test_sampled_regions_carry_their_object():
    _, _, proposals, targets = small_batch()
    heads = StandardROIHeads(small_config(), SHAPES)
    with EventStorage() as storage:
        first, second = heads.label_and_sample_proposals(proposals, targets)
    # the objects' own boxes are appended; at most a quarter of 8 may have an object
    assert first.gt_classes.tolist().count(3) == 1  # the only region without an object
    assert len(first) == 3 and len(second) == 2
    for index, label in enumerate(first.gt_classes.tolist()):
        if label != 3:
            expected = targets[0].gt_boxes.tensor[targets[0].gt_classes == label][0]
            assert torch.equal(first.gt_boxes.tensor[index], expected)
    assert second.gt_classes.tolist() == [3, 3] and not second.has("gt_boxes")
    logged = {name: value for name, (value, _) in storage.latest().items()}
    assert logged == {"roi_head/num_fg_samples": 1.0, "roi_head/num_bg_samples": 1.5}


def test_own_boxes_of_objects_are_optional():
    _, _, proposals, targets = small_batch()
    heads = StandardROIHeads(small_config(**{"MODEL.ROI_HEADS.PROPOSAL_APPEND_GT": False}), SHAPES)
    none = [regions([]), regions([], SIZES[1])]
    with EventStorage():
        assert [len(s) for s in heads.label_and_sample_proposals(none, targets)] == [0, 0]
        appended = StandardROIHeads(small_config(), SHAPES)
        sampled = appended.label_and_sample_proposals(none, targets)
    assert sampled[0].gt_classes.sort()[0].tolist() == [0, 2] and len(sampled[1]) == 0


def test_ignored_regions_are_not_sampled():
    options = {
        "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.3, 0.9],
        "MODEL.ROI_HEADS.IOU_LABELS": [0, -1, 1],
        "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT": False,
    }
    heads = StandardROIHeads(small_config(**options), SHAPES)
    proposals = [regions([[0, 0, 10, 10], [0, 0, 10, 15], [40, 40, 60, 60]])]
    with EventStorage():
        (sampled,) = heads.label_and_sample_proposals(proposals, [objects([[0.0, 0, 10, 10]], [1])])
    assert sorted(sampled.gt_classes.tolist()) == [1, 3]


def test_foreground():
    sampled = regions([[0, 0, 1, 1]] * 4)
    sampled.gt_classes = torch.tensor([3, 0, -1, 2])
    (kept,), (mask,) = select_foreground_proposals([sampled], bg_label=3)
    assert kept.gt_classes.tolist() == [0, 2]
    assert mask.tolist() == [False, True, False, True]


def test_box_head():
    head = FastRCNNConvFCHead(
        ShapeSpec(channels=4, height=3, width=5), conv_dims=[32], fc_dims=[7, 6], conv_norm="GN"
    )
    assert [name for name, _ in head.named_children() if "relu" not in name] == [
        "conv1",
        "flatten",
        "fc1",
        "fc2",
    ]
    assert head.conv1.bias is None and isinstance(head.conv1.norm, nn.GroupNorm)
    assert head.output_shape == ShapeSpec(channels=6)
    x = torch.randn(3, 4, 3, 5)
    hidden = F.relu(head.conv1.norm(F.conv2d(x, head.conv1.weight, padding=1))).flatten(1)
    expected = F.relu(head.fc2(F.relu(head.fc1(hidden))))
    torch.testing.assert_close(head(x), expected)
    assert head(x[:0]).shape == (0, 6)


def test_box_head_of_convolutions():
    head = FastRCNNConvFCHead(
        ShapeSpec(channels=4, height=3, width=5), conv_dims=[6, 7], fc_dims=[]
    )
    assert head.output_shape == ShapeSpec(channels=7, height=3, width=5)
    assert head(torch.rand(2, 4, 3, 5)).shape == (2, 7, 3, 5)
    layers = FastRCNNOutputLayers(
        head.output_shape, box2box_transform=Box2BoxTransform((1.0, 1.0, 1.0, 1.0)), num_classes=2
    )
    scores, deltas = layers(torch.rand(2, 7, 3, 5))
    assert scores.shape == (2, 3) and deltas.shape == (2, 8)


def test_inference_of_the_heads():
    options = {"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0}
    heads = StandardROIHeads(small_config(**options), SHAPES).eval()
    images, features, proposals, _ = small_batch()
    proposals[1] = regions([], SIZES[1])
    found, losses = heads(images, features, proposals)
    assert losses == {}
    assert [f.image_size for f in found] == SIZES
    assert len(found[0]) > 0 and len(found[1]) == 0
    assert found[0].get_fields().keys() == {"pred_boxes", "scores", "pred_classes"}
    again = heads.forward_with_given_boxes(features, found)
    assert torch.equal(again[0].pred_boxes.tensor, found[0].pred_boxes.tensor)


def test_training_without_any_object_or_proposal():
    heads = StandardROIHeads(small_config(), SHAPES)
    images, features, _, _ = small_batch()
    none = [regions([]), regions([], SIZES[1])]
    empty = [objects([], []), objects([], [], SIZES[1])]
    with EventStorage():
        _, losses = heads(images, features, none, empty)
    assert all(loss == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in heads.parameters())


@pytest.mark.parametrize("on_predictions", [False, True])
def test_regions_after_training(on_predictions):
    options = {"MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": on_predictions}
    heads = StandardROIHeads(small_config(**options), SHAPES)
    nn.init.normal_(heads.box_predictor.bbox_pred.bias)
    with EventStorage():
        sampled, _ = heads(*small_batch())
    originals = torch.cat([p.proposal_boxes.tensor for p in small_batch()[2]])
    boxes = torch.cat([s.proposal_boxes.tensor for s in sampled])
    unchanged = [(originals == box).all(dim=1).any().item() for box in boxes]
    assert any(unchanged) != on_predictions
    assert not boxes.requires_grad


@only_embedded
@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("MODEL.MASK_ON", True, r"MODEL\.MASK_ON=True.*genuine Detectron2"),
        ("MODEL.KEYPOINT_ON", True, r"MODEL\.KEYPOINT_ON=True.*genuine Detectron2"),
        ("MODEL.ROI_BOX_HEAD.USE_FED_LOSS", True, r"USE_FED_LOSS=True.*genuine Detectron2"),
        ("MODEL.ROI_HEADS.NAME", "Res5ROIHeads", r"NAME='Res5ROIHeads'.*'StandardROIHeads'"),
        ("MODEL.ROI_HEADS.NAME", "CascadeROIHeads", r"ROI_HEADS\.NAME='CascadeROIHeads'"),
        ("MODEL.ROI_HEADS.IN_FEATURES", ["a", "p2"], r"MODEL\.ROI_HEADS\.IN_FEATURES=.*a, b"),
        ("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignRotated", "POOLER_TYPE='ROIAlignRotated'"),
        ("MODEL.ROI_BOX_HEAD.NUM_FC", 0, r"MODEL\.ROI_BOX_HEAD\.NUM_CONV or NUM_FC"),
    ],
)
def test_what_is_not_served(key, value, words):
    with pytest.raises(ValueError, match=words):
        build_roi_heads(small_config(**{key: value}), SHAPES)


@only_embedded
def test_training_needs_objects():
    images, features, proposals, targets = small_batch()
    heads = StandardROIHeads(small_config(), SHAPES)
    with pytest.raises(ValueError, match="targets"):
        heads(images, features, proposals)
    assert heads(images, features, proposals, targets)[1]  # without event storage too
