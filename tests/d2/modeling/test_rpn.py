import pytest
import torch
from torch.nn import functional as F

from dyhead.d2 import HOST
from dyhead.d2.config import get_cfg
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.backbone import build_backbone
from dyhead.d2.modeling.proposal_generator import (
    RPN,
    StandardRPNHead,
    build_proposal_generator,
    build_rpn_head,
)
from dyhead.d2.modeling.proposal_generator.proposal_utils import (
    add_ground_truth_to_proposals,
    find_top_rpn_proposals,
)
from dyhead.d2.structures import Boxes, ImageList, Instances, pairwise_iou
from dyhead.d2.utils.events import EventStorage

only_embedded = pytest.mark.skipif(HOST != "embedded", reason="the embedded host's own words")
SHAPES = {"a": ShapeSpec(channels=8, stride=8), "b": ShapeSpec(channels=8, stride=16)}


def small_config(**options):
    cfg = get_cfg()
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32]]
    cfg.MODEL.RPN.IN_FEATURES = ["a", "b"]
    cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 20
    cfg.MODEL.RPN.update(options)
    return cfg


def small_batch():
    torch.manual_seed(3)
    images = ImageList(torch.rand(2, 3, 64, 64), [(64, 60), (50, 64)])
    features = {"a": torch.randn(2, 8, 8, 8), "b": torch.randn(2, 8, 4, 4)}
    first = Boxes(torch.tensor([[4.0, 4, 22, 20], [30, 28, 60, 62]]))
    gt = [Instances((64, 60), gt_boxes=first), Instances((50, 64), gt_boxes=Boxes([]))]
    return images, features, gt


def proposals_and_losses(rpn, gt=None, features=None):
    images, own_features, own_gt = small_batch()
    with EventStorage() as storage:
        result = rpn(images, features or own_features, gt or own_gt)
    return *result, {name: value for name, (value, _) in storage.latest().items()}


@pytest.mark.parametrize(
    ("conv_dims", "losses"),
    [([-1], (0.08011703193, 0.101470276)), ([64] * 5, (0.08122821152, 0.10064548254))],
)
def test_losses_and_proposals_that_detectron2_expects(conv_dims, losses):
    torch.manual_seed(121)
    cfg = get_cfg()
    cfg.MODEL.RPN.CONV_DIMS = conv_dims
    rpn = RPN(cfg, build_backbone(cfg).output_shape())
    images = ImageList(torch.rand(2, 20, 30), [(10, 10), (20, 30)])
    features = {"res4": torch.rand(2, 1024, 1, 2)}
    gt = Instances((15, 15), gt_boxes=Boxes(torch.tensor([[1.0, 1, 3, 3], [2, 2, 6, 6]])))
    with EventStorage():
        proposals, actual = rpn(images, features, [gt[0], gt[1]])
    torch.testing.assert_close(actual["loss_rpn_cls"].item(), losses[0], rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(actual["loss_rpn_loc"].item(), losses[1], rtol=1e-5, atol=1e-8)
    assert [p.image_size for p in proposals] == [(10, 10), (20, 30)]
    if conv_dims == [-1]:
        boxes = torch.tensor([[0, 0, 10, 10], [7.2702, 0, 10, 10]])
        torch.testing.assert_close(proposals[0].proposal_boxes.tensor, boxes, rtol=0, atol=1e-4)
        logits = torch.tensor([0.1596, -0.0007])
        torch.testing.assert_close(proposals[0].objectness_logits, logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("conv_dims", "widths"), [([-1], [8]), ([16, -1, 4], [16, 16, 4]), ([-1, -1], [8, 8])]
)
def test_widths_of_the_head(conv_dims, widths):
    head = build_rpn_head(small_config(CONV_DIMS=conv_dims), list(SHAPES.values()))
    convs = [head.conv] if len(widths) == 1 else list(head.conv)
    assert [conv.out_channels for conv in convs] == widths
    logits, deltas = head([torch.rand(2, 8, 5, 6), torch.rand(2, 8, 3, 3)])
    assert [tuple(level.shape) for level in logits] == [(2, 3, 5, 6), (2, 3, 3, 3)]
    assert [tuple(level.shape) for level in deltas] == [(2, 12, 5, 6), (2, 12, 3, 3)]
    assert (head.objectness_logits.bias == 0).all()


def test_predictions_belong_to_their_anchors():
    """One hot channel and position of the head's output moves just that anchor."""
    cfg = small_config(PRE_NMS_TOPK_TEST=1, POST_NMS_TOPK_TEST=1)
    rpn = RPN(cfg, SHAPES).eval()
    images, features, _ = small_batch()
    levels = [features["a"], features["b"]]
    anchors = rpn.anchor_generator(levels)
    logits = [torch.full((2, 3, *level.shape[2:]), -9.0) for level in levels]
    deltas = [torch.zeros(2, 12, *level.shape[2:]) for level in levels]
    logits[0][0, 1, 3, 5] = 4.0
    deltas[0][0, 4:8, 3, 5] = torch.tensor([0.25, 0.0, 0.0, 0.0])
    rpn.rpn_head.forward = lambda _: (logits, deltas)
    proposals, losses = rpn(images, features)
    anchor = anchors[0].tensor[(3 * 8 + 5) * 3 + 1]
    shift = (anchor[2] - anchor[0]) * 0.25
    expected = anchor + torch.tensor([shift, 0, shift, 0])
    torch.testing.assert_close(proposals[0].proposal_boxes.tensor[0], expected)
    assert losses == {}


def test_labels_and_matched_boxes():
    rpn = RPN(small_config(BATCH_SIZE_PER_IMAGE=10_000), SHAPES)
    _, features, gt = small_batch()
    anchors = rpn.anchor_generator(list(features.values()))
    labels, boxes = rpn.label_and_sample_anchors(anchors, gt)
    overlaps = pairwise_iou(gt[0].gt_boxes, Boxes.cat(anchors))
    best = overlaps.amax(dim=0)
    positive = (best >= 0.7) | (overlaps == overlaps.amax(dim=1, keepdim=True)).any(dim=0)
    assert torch.equal(labels[0] == 1, positive)
    assert torch.equal(labels[0] == 0, (best < 0.3) & ~positive)
    assert torch.equal(boxes[0], gt[0].gt_boxes.tensor[overlaps.argmax(dim=0)])
    assert (labels[1] == 0).all() and boxes[1].shape == boxes[0].shape


def test_anchors_outside_the_image_are_ignored_on_demand():
    rpn = RPN(small_config(BATCH_SIZE_PER_IMAGE=10_000, BOUNDARY_THRESH=0), SHAPES)
    _, features, gt = small_batch()
    anchors = rpn.anchor_generator(list(features.values()))
    labels, _ = rpn.label_and_sample_anchors(anchors, gt)
    inside = Boxes.cat(anchors).inside_box(gt[1].image_size, 0)
    assert inside.any() and not inside.all()
    assert torch.equal(labels[1] == 0, inside)


def test_losses_against_sums_over_anchors():
    rpn = RPN(small_config(LOSS_WEIGHT=2.0, BBOX_REG_LOSS_WEIGHT=3.0), SHAPES)
    _, features, gt = small_batch()
    anchors = rpn.anchor_generator(list(features.values()))
    labels, boxes = rpn.label_and_sample_anchors(anchors, gt)
    counts = [len(level) for level in anchors]
    logits = [torch.randn(2, count) for count in counts]
    deltas = [torch.randn(2, count, 4) for count in counts]
    with EventStorage() as storage:
        losses = rpn.losses(anchors, logits, labels, deltas, boxes)
    cls_sum, loc_sum, all_anchors = 0.0, 0.0, Boxes.cat(anchors).tensor
    for image in range(2):
        for index, label in enumerate(labels[image].tolist()):
            if label >= 0:
                logit = torch.cat(logits, dim=1)[image, index]
                cls_sum += float(F.softplus(-logit if label else logit))
            if label == 1:
                source, target = all_anchors[index : index + 1], boxes[image][index : index + 1]
                wanted = rpn.box2box_transform.get_deltas(source, target)[0]
                loc_sum += float((torch.cat(deltas, dim=1)[image, index] - wanted).abs().sum())
    assert losses["loss_rpn_cls"].item() == pytest.approx(cls_sum * 2 / 40, rel=1e-4)
    assert losses["loss_rpn_loc"].item() == pytest.approx(loc_sum * 6 / 40, rel=1e-4)
    sampled = torch.stack(labels)
    logged = {name: value for name, (value, _) in storage.latest().items()}
    assert logged == {
        "rpn/num_pos_anchors": int((sampled == 1).sum()) / 2,
        "rpn/num_neg_anchors": int((sampled == 0).sum()) / 2,
    }


def test_images_without_objects_train_the_scores_only():
    rpn = RPN(small_config(), SHAPES)
    empty = [Instances(size, gt_boxes=Boxes([])) for size in ((64, 60), (50, 64))]
    proposals, losses, logged = proposals_and_losses(rpn, gt=empty)
    assert losses["loss_rpn_loc"] == 0 and losses["loss_rpn_cls"] > 0
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in rpn.parameters())
    assert logged == {"rpn/num_pos_anchors": 0, "rpn/num_neg_anchors": 20}
    assert all(len(p) > 0 for p in proposals)


def test_no_gradient_through_the_proposals():
    proposals, _, _ = proposals_and_losses(RPN(small_config(), SHAPES))
    assert not proposals[0].proposal_boxes.tensor.requires_grad


@pytest.mark.parametrize(("training", "most"), [(True, 12), (False, 5)])
def test_topk_in_training_and_at_inference(training, most):
    cfg = small_config(POST_NMS_TOPK_TRAIN=12, POST_NMS_TOPK_TEST=5, NMS_THRESH=0.9)
    proposals, _, _ = proposals_and_losses(RPN(cfg, SHAPES).train(training))
    assert [len(p) for p in proposals] == [most, most]
    for found in proposals:
        assert torch.equal(found.objectness_logits, found.objectness_logits.sort()[0].flip(0))
        assert found.get_fields().keys() == {"proposal_boxes", "objectness_logits"}


def find(
    boxes, logits, *, size=(100, 100), nms=0.5, before=1000, after=1000, least=0.0, train=False
):
    return find_top_rpn_proposals(boxes, logits, [size], nms, before, after, least, train)[0]


def test_nms_within_levels_only():
    box = torch.tensor([[[10.0, 10, 40, 40], [11, 11, 41, 41]]])
    levels = [box, box.clone()]
    logits = [torch.tensor([[2.0, 1.0]]), torch.tensor([[4.0, 3.0]])]
    found = find(levels, logits)
    assert found.objectness_logits.tolist() == [4.0, 2.0]


def test_topk_before_nms_is_per_level():
    boxes = torch.arange(6.0)[:, None] * 15 + torch.tensor([0.0, 0, 9, 9])
    logits = torch.tensor([[1.0, 6, 3, 2, 5, 4]])
    found = find([boxes[None], boxes[None] + 1], [logits, logits + 10], before=2)
    assert found.objectness_logits.tolist() == [16, 15, 6, 5]
    assert torch.equal(found.proposal_boxes.tensor[2], boxes[1])


def test_clipping_and_small_boxes():
    boxes = torch.tensor([[[-10.0, -10, 30, 120], [50, 50, 54, 90], [120, 10, 150, 30]]])
    found = find([boxes], [torch.tensor([[3.0, 2, 1]])], size=(80, 100), least=5.0)
    assert found.proposal_boxes.tensor.tolist() == [[0, 0, 30, 80]]
    found = find([boxes], [torch.tensor([[3.0, 2, 1]])], size=(80, 100), least=0.0)
    assert len(found) == 2  # the one outside the image has no width left


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_numbers_that_are_not_finite(bad):
    boxes = torch.rand(1, 6, 4).sort(dim=2)[0] * 50
    boxes[0, 2, 1] = bad
    logits = torch.arange(6.0)[None]
    assert 2.0 not in find([boxes], [logits], nms=1.0).objectness_logits.tolist()
    with pytest.raises(FloatingPointError):
        find([boxes], [logits], train=True)
    logits[0, 4] = -bad
    assert len(find([boxes], [logits], nms=1.0)) <= 4


def test_an_image_without_any_proposal():
    outside = torch.full((1, 3, 4), 200.0)
    found = find([outside], [torch.zeros(1, 3)])
    assert len(found) == 0 and found.proposal_boxes.tensor.shape == (0, 4)


def test_ground_truth_becomes_proposals():
    proposals = Instances((10, 10), proposal_boxes=Boxes([[1.0, 1, 2, 2]]))
    proposals.objectness_logits = torch.tensor([0.5])
    gt = Instances((10, 10), gt_boxes=Boxes([[0.0, 0, 5, 5]]), gt_classes=torch.tensor([1]))
    for truth in (gt, gt.gt_boxes):
        (joined,) = add_ground_truth_to_proposals([truth], [proposals])
        assert joined.proposal_boxes.tensor.tolist() == [[1, 1, 2, 2], [0, 0, 5, 5]]
        assert joined.objectness_logits[1].sigmoid() == 1
        assert joined.get_fields().keys() == {"proposal_boxes", "objectness_logits"}
    assert len(proposals) == 1


def test_ground_truth_needs_the_fields_of_the_proposals():
    proposals = Instances((10, 10), proposal_boxes=Boxes([]), objectness_logits=torch.zeros(0))
    proposals.custom = torch.zeros(0)
    gt = Instances((10, 10), gt_boxes=Boxes([[0.0, 0, 1, 1]]))
    for truth in (gt, gt.gt_boxes):
        with pytest.raises(AssertionError):
            add_ground_truth_to_proposals([truth], [proposals])
    gt.custom, gt.other = torch.ones(1), torch.ones(1)
    (joined,) = add_ground_truth_to_proposals([gt], [proposals])
    assert joined.custom.tolist() == [1] and not joined.has("other")
    with pytest.raises(ValueError):
        add_ground_truth_to_proposals([gt, gt], [proposals])
    assert add_ground_truth_to_proposals([], []) == []


@only_embedded
def test_bad_options():
    with pytest.raises(ValueError, match=r"MODEL\.RPN\.IN_FEATURES=\['c'\].*a, b"):
        RPN(small_config(IN_FEATURES=["c"]), SHAPES)
    for conv_dims in ([], [8, 0]):
        with pytest.raises(ValueError, match=r"MODEL\.RPN\.CONV_DIMS"):
            StandardRPNHead(in_channels=8, num_anchors=3, conv_dims=conv_dims)
    with pytest.raises(ValueError, match=r"MODEL\.RPN\.IN_FEATURES.*\[8, 4\]"):
        RPN(small_config(), SHAPES | {"b": ShapeSpec(channels=4, stride=16)})
    cfg = small_config()
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32, 48]]
    with pytest.raises(ValueError, match=r"\[3, 6\]"):
        RPN(cfg, SHAPES)


@only_embedded
def test_training_needs_objects():
    images, features, _ = small_batch()
    with pytest.raises(ValueError, match="gt_instances"):
        RPN(small_config(), SHAPES)(images, features)


@only_embedded
def test_no_storage_is_needed():
    images, features, gt = small_batch()
    assert RPN(small_config(), SHAPES)(images, features, gt)[1].keys() == {
        "loss_rpn_cls",
        "loss_rpn_loc",
    }


@only_embedded
def test_generators_of_genuine_detectron2():
    cfg = small_config()
    assert isinstance(build_proposal_generator(cfg, SHAPES), RPN)
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "RRPN"
    with pytest.raises(ValueError, match=r"MODEL\.PROPOSAL_GENERATOR\.NAME='RRPN'.*Detectron2"):
        build_proposal_generator(cfg, SHAPES)
