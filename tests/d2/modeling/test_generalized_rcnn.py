import pytest
import torch

from dyhead.d2 import HOST
from dyhead.d2.config import get_cfg
from dyhead.d2.modeling import GeneralizedRCNN, ProposalNetwork, build_model
from dyhead.d2.structures import Boxes, Instances
from dyhead.d2.utils.events import EventStorage

only_embedded = pytest.mark.skipif(HOST != "embedded", reason="the embedded host's own words")


def small_config(**options):
    cfg = get_cfg()
    model = cfg.MODEL
    model.META_ARCHITECTURE, model.DEVICE = "GeneralizedRCNN", "cpu"
    model.PIXEL_STD = [60.0, 60.0, 60.0]
    model.BACKBONE.update({"NAME": "build_resnet_fpn_backbone", "FREEZE_AT": 0})
    model.RESNETS.update({"DEPTH": 18, "RES2_OUT_CHANNELS": 64})
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res4", "res5"]
    model.FPN.OUT_CHANNELS = 8
    model.ANCHOR_GENERATOR.SIZES = [[32], [64], [128]]
    model.RPN.update({"IN_FEATURES": ["p4", "p5", "p6"], "POST_NMS_TOPK_TRAIN": 50})
    model.RPN.POST_NMS_TOPK_TEST = 20
    model.ROI_HEADS.update({"NAME": "StandardROIHeads", "IN_FEATURES": ["p4", "p5"]})
    model.ROI_HEADS.update({"NUM_CLASSES": 2, "SCORE_THRESH_TEST": 0.0})
    model.ROI_BOX_HEAD.update({"NAME": "FastRCNNConvFCHead", "NUM_FC": 1, "FC_DIM": 16})
    model.ROI_BOX_HEAD.POOLER_RESOLUTION = 3
    cfg.merge_from_list([item for pair in options.items() for item in pair])
    return cfg


def small_batch(boxes=((4.0, 4, 40, 50),), classes=(1,)):
    torch.manual_seed(3)
    batch = []
    for size, own, labels in (((64, 90), boxes, classes), ((70, 50), (), ())):
        instances = Instances(size, gt_boxes=Boxes(list(own)))
        instances.gt_classes = torch.tensor(labels, dtype=torch.long)
        batch.append({"image": torch.rand(3, *size) * 255, "instances": instances})
    return batch


def build(**options):
    torch.manual_seed(4)
    return build_model(small_config(**options))


def losses_of(model, batch):
    with EventStorage() as storage:
        losses = model.train()(batch)
    return losses, storage.latest()


def test_losses_and_scalars():
    model = build()
    assert isinstance(model, GeneralizedRCNN)
    losses, logged = losses_of(model, small_batch())
    assert losses.keys() == {"loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc"}
    assert {"rpn/num_pos_anchors", "roi_head/num_fg_samples", "fast_rcnn/cls_accuracy"} <= set(
        logged
    )
    sum(losses.values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_images_without_objects():
    losses, _ = losses_of(build(), small_batch((), ()))
    assert losses["loss_box_reg"] == losses["loss_rpn_loc"] == 0
    assert losses["loss_cls"] > 0 and losses["loss_rpn_cls"] > 0


def test_it_learns_one_image():
    model = build(**{"MODEL.RESNETS.NORM": "BN"})
    batch = small_batch()[:1]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    totals = []
    for _ in range(12):
        total = sum(losses_of(model, batch)[0].values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.7 * totals[0]


@torch.no_grad()
def test_detections_have_the_size_asked_for():
    model = build().eval()
    batch = small_batch()
    batch[0] |= {"height": 128, "width": 180}
    first, second = (output["instances"] for output in model(batch))
    assert first.image_size == (128, 180) and second.image_size == (70, 50)
    raw = model.inference(batch, do_postprocess=False)
    assert raw[0].image_size == (64, 90)
    torch.testing.assert_close(first.pred_boxes.tensor, raw[0].pred_boxes.tensor * 2)
    assert first.get_fields().keys() == {"pred_boxes", "scores", "pred_classes"}
    assert 0 < len(first) <= 100 and set(first.pred_classes.tolist()) <= {0, 1}


@torch.no_grad()
def test_an_image_alone_or_in_a_batch():
    model = build().eval()
    batch = [{"image": torch.rand(3, 64, 96) * 255} for _ in range(2)]
    together = model(batch)
    for image, expected in zip(batch, together, strict=True):
        (alone,) = model([image])
        torch.testing.assert_close(
            alone["instances"].scores, expected["instances"].scores, rtol=1e-4, atol=1e-5
        )


@torch.no_grad()
def test_given_detections_are_kept():
    model, batch = build().eval(), small_batch()[:1]
    given = Instances((64, 90), pred_boxes=Boxes([[1.0, 2, 30, 40]]), scores=torch.tensor([0.5]))
    given.pred_classes = torch.tensor([1])
    (output,) = model.inference(batch, [given])
    assert output["instances"].pred_boxes.tensor.tolist() == [[1, 2, 30, 40]]


@torch.no_grad()
def test_no_proposal_at_all():
    model = build(**{"MODEL.PROPOSAL_GENERATOR.MIN_SIZE": 10_000}).eval()
    assert [len(output["instances"]) for output in model(small_batch())] == [0, 0]


def test_one_class():
    model = build(**{"MODEL.ROI_HEADS.NUM_CLASSES": 1})
    losses, _ = losses_of(model, small_batch(classes=(0,)))
    assert all(torch.isfinite(loss) for loss in losses.values())
    with torch.no_grad():
        outputs = model.eval()(small_batch())
    assert set(outputs[0]["instances"].pred_classes.tolist()) == {0}


def test_names_of_the_weights():
    keys = build().state_dict().keys()
    heads = {key for key in keys if not key.startswith("backbone.")}
    assert heads == {
        f"{layer}.{kind}"
        for kind in ("weight", "bias")
        for layer in (
            "proposal_generator.rpn_head.conv",
            "proposal_generator.rpn_head.objectness_logits",
            "proposal_generator.rpn_head.anchor_deltas",
            "roi_heads.box_head.fc1",
            "roi_heads.box_predictor.cls_score",
            "roi_heads.box_predictor.bbox_pred",
        )
    }


def test_proposal_network():
    model = build(**{"MODEL.META_ARCHITECTURE": "ProposalNetwork"})
    assert isinstance(model, ProposalNetwork)
    losses, _ = losses_of(model, small_batch())
    assert losses.keys() == {"loss_rpn_cls", "loss_rpn_loc"}
    batch = [{"image": small_batch()[0]["image"], "height": 32, "width": 45}]
    with torch.no_grad():
        (output,) = model.eval()(batch)
    found = output["proposals"]
    assert found.image_size == (32, 45) and 0 < len(found) <= 20
    assert found.get_fields().keys() == {"proposal_boxes", "objectness_logits"}


@only_embedded
@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("VIS_PERIOD", 20, "VIS_PERIOD=20.*genuine Detectron2"),
        ("MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals", "PrecomputedProposals.*'RPN'"),
        ("MODEL.ROI_HEADS.NAME", "Res5ROIHeads", "Res5ROIHeads.*genuine Detectron2"),
    ],
)
def test_what_is_not_served(key, value, words):
    with pytest.raises(ValueError, match=words):
        build(**{key: value})


@only_embedded
def test_pixels_need_as_many_divisors_as_means():
    with pytest.raises(ValueError, match=r"MODEL\.PIXEL_MEAN has 3 and MODEL\.PIXEL_STD 1"):
        build(**{"MODEL.PIXEL_STD": [1.0]})
