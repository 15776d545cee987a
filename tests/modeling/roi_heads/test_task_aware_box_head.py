"""The box head of the paper's Figure 2c, alone and in a Faster R-CNN."""

import logging
import math

import pytest
import torch
from torch import nn

from dyhead.config import add_dyhead_config
from dyhead.d2.config import get_cfg
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import build_model
from dyhead.d2.modeling.roi_heads import ROI_BOX_HEAD_REGISTRY
from dyhead.d2.structures import Boxes, Instances
from dyhead.d2.utils.events import EventStorage
from dyhead.errors import UserError
from dyhead.modeling.roi_heads import TaskAwareBoxHead


def make_head(channels=32, size=(7, 7), **arguments):
    torch.manual_seed(0)
    return TaskAwareBoxHead(
        ShapeSpec(channels=channels, height=size[0], width=size[1]), **arguments
    )


def shake(module):
    """Weights far from their start, so that every one of them counts."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return module


def make_config():
    """Faster R-CNN as in Figure 2c, small."""
    cfg = get_cfg()
    add_dyhead_config(cfg)
    model = cfg.MODEL
    model.DEVICE, model.WEIGHTS = "cpu", ""
    model.META_ARCHITECTURE = "GeneralizedRCNN"
    model.BACKBONE.NAME = "build_resnet_fpn_dyhead_backbone"
    model.RESNETS.DEPTH, model.RESNETS.RES2_OUT_CHANNELS = 18, 64
    model.RESNETS.NORM = "GN"  # random weights
    model.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    model.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    model.FPN.OUT_CHANNELS = 64
    model.DYHEAD.NUM_CONVS, model.DYHEAD.CHANNELS, model.DYHEAD.TASK_AWARE = 2, 64, False
    model.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    model.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    model.RPN.POST_NMS_TOPK_TRAIN = model.RPN.POST_NMS_TOPK_TEST = 50
    model.ROI_HEADS.NAME, model.ROI_HEADS.NUM_CLASSES = "StandardROIHeads", 3
    model.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    model.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    model.ROI_BOX_HEAD.NAME = "TaskAwareBoxHead"
    model.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    return cfg


def make_image(seed, boxes, classes):
    instances = Instances((128, 128))
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, 128, 128), generator=generator, dtype=torch.uint8)
    return {"image": image, "instances": instances, "height": 128, "width": 128}


# --- The naive double: one proposal, one position and one channel at a time. ---------------------


def naive_convolution(conv, image):
    """A 3x3 convolution with stride 2 of image[c][y][x], padded by zeros."""
    height, width = len(image[0]), len(image[0][0])
    weight = conv.weight.tolist()

    def value(out_channel, y, x):
        total = 0.0
        for channel, rows in enumerate(image):
            for dy in range(3):
                for dx in range(3):
                    row, column = 2 * y + dy - 1, 2 * x + dx - 1
                    if 0 <= row < height and 0 <= column < width:
                        total += weight[out_channel][channel][dy][dx] * rows[row][column]
        return total

    rows, columns = range(-(-height // 2)), range(-(-width // 2))
    return [[[value(c, y, x) for x in columns] for y in rows] for c in range(len(weight))]


def naive_group_norm(norm, image):
    size = len(image) // 16
    result = []
    for channel, rows in enumerate(image):
        start = channel // size * size
        values = [v for other in image[start : start + size] for row in other for v in row]
        mean = sum(values) / len(values)
        deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values) + norm.eps)
        weight, bias = norm.weight[channel].item(), norm.bias[channel].item()
        result.append([[(v - mean) / deviation * weight + bias for v in row] for row in rows])
    return result


def naive_linear(linear, values):
    return [
        sum(w * v for w, v in zip(row, values, strict=True)) + bias
        for row, bias in zip(linear.weight.tolist(), linear.bias.tolist(), strict=True)
    ]


def naive_task_attention(attention, image):
    channels = len(image)
    pooled = [sum(map(sum, rows)) / (len(rows) * len(rows[0])) for rows in image]
    hidden = [max(0.0, value) for value in naive_linear(attention.squeeze, pooled)]
    theta = [
        min(max((value + 3) / 6, 0.0), 1.0) - 0.5
        for value in naive_linear(attention.expand, hidden)
    ]
    result = []
    for channel, rows in enumerate(image):
        a1, b1, a2, b2 = theta[channel::channels]
        result.append([[max((2 * a1 + 1) * v + b1, 2 * a2 * v + b2) for v in row] for row in rows])
    return result


def naive_head(head, pooled):
    vectors = []
    for image in pooled.tolist():
        for block in head.blocks:
            image = naive_group_norm(block.norm, naive_convolution(block.conv, image))
            image = naive_task_attention(block.task_attention, image)
        vectors.append([value for rows in image for row in rows for value in row])
    return torch.tensor(vectors, dtype=torch.float64)


@pytest.mark.parametrize(("size", "num_blocks"), [((7, 7), 2), ((4, 6), 1)])
def test_head_equals_its_naive_double(size, num_blocks):
    head = shake(make_head(16, size, num_blocks=num_blocks).double())
    pooled = torch.randn(2, 16, *size, dtype=torch.float64)
    torch.testing.assert_close(head(pooled), naive_head(head, pooled), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("proposals", [0, 1, 5])
@pytest.mark.parametrize(
    ("size", "num_blocks", "positions"), [((7, 7), 2, 4), ((7, 7), 3, 1), ((14, 9), 1, 35)]
)
def test_output_is_the_vector_that_output_shape_says(proposals, size, num_blocks, positions):
    head = make_head(32, size, num_blocks=num_blocks)
    assert head.output_shape == ShapeSpec(channels=32 * positions)
    assert head(torch.randn(proposals, 32, *size)).shape == (proposals, 32 * positions)


@pytest.mark.parametrize("proposals", [0, 3])
def test_every_parameter_gets_a_gradient(proposals):
    head = make_head()
    pooled = torch.randn(proposals, 32, 7, 7, requires_grad=True)
    (head(pooled) ** 2).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert bool(parameter.grad.any()) == (proposals > 0), name
    assert pooled.grad.shape == pooled.shape


def test_proposals_do_not_see_each_other():
    head = shake(make_head().double())
    pooled = torch.randn(4, 32, 7, 7, dtype=torch.float64)
    alone = torch.cat([head(one[None]) for one in pooled])
    torch.testing.assert_close(head(pooled), alone)


def test_vector_tells_where_something_is():
    """An average over all positions would not, and boxes could not be refined with it."""
    head = make_head()
    pooled = torch.randn(1, 32, 7, 7)
    assert not torch.allclose(head(pooled), head(pooled.flip(-1)), atol=0.1)


def test_size_and_width_beside_the_fully_connected_layers():
    """The numbers of the docstring and of docs/semantics.md."""
    head = make_head(256)
    assert sum(parameter.numel() for parameter in head.parameters()) == 1_346_688
    replaced = [nn.Linear(256 * 7 * 7, 1024), nn.Linear(1024, 1024)]
    assert sum(p.numel() for layer in replaced for p in layer.parameters()) == 13_895_680
    assert head.output_shape.channels == 1024


def test_unusable_numbers_are_refused_in_one_sentence():
    with pytest.raises(UserError, match=r"TASK_AWARE_BOX_HEAD\.NUM_BLOCKS is 0: set it to 1"):
        make_head(num_blocks=0)
    with pytest.raises(UserError, match="multiple of 16 channels, the pooled features have 24"):
        make_head(24)
    with pytest.raises(ValueError, match="needs channels, height and width"):
        TaskAwareBoxHead(ShapeSpec(channels=32))


def test_keys_reach_the_head():
    cfg = make_config()
    cfg.MODEL.TASK_AWARE_BOX_HEAD.NUM_BLOCKS = 3
    shape = ShapeSpec(channels=32, height=7, width=7)
    heads = []
    for cfg.MODEL.DYHEAD.HARD_SIGMOID in ("official", "paper"):
        torch.manual_seed(0)
        heads.append(shake(ROI_BOX_HEAD_REGISTRY.get("TaskAwareBoxHead")(cfg, shape)))
    assert [len(head.blocks) for head in heads] == [3, 3]
    pooled = torch.randn(2, 32, 7, 7)
    assert not torch.allclose(heads[0](pooled), heads[1](pooled))


@pytest.mark.parametrize(
    ("builder", "task_aware", "num_convs", "warns"),
    [
        ("build_resnet_fpn_dyhead_backbone", True, 6, True),
        ("build_resnet_fpn_dyhead_backbone", False, 6, False),
        ("build_resnet_fpn_dyhead_backbone", True, 0, False),
        ("build_resnet_fpn_backbone", True, 6, False),
    ],
)
def test_task_attention_in_both_places_is_warned_of(builder, task_aware, num_convs, warns, caplog):
    cfg = make_config()
    cfg.MODEL.BACKBONE.NAME = builder
    cfg.MODEL.DYHEAD.TASK_AWARE, cfg.MODEL.DYHEAD.NUM_CONVS = task_aware, num_convs
    with caplog.at_level(logging.WARNING, "dyhead.modeling.roi_heads"):
        TaskAwareBoxHead(cfg, ShapeSpec(channels=32, height=7, width=7))
    assert ("MODEL.DYHEAD.TASK_AWARE False" in caplog.text) == warns


def test_faster_rcnn_of_figure_2c_trains_and_detects():
    torch.manual_seed(0)
    model = build_model(make_config())
    assert all(isinstance(block.task_attention, nn.ReLU) for block in model.backbone.blocks)
    assert isinstance(model.roi_heads.box_head, TaskAwareBoxHead)
    assert model.roi_heads.box_predictor.cls_score.in_features == 64 * 2 * 2
    batch = [
        make_image(1, [[10.0, 12.0, 90.0, 70.0], [60.0, 50.0, 120.0, 120.0]], [0, 2]),
        make_image(2, [], []),
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with EventStorage():
        losses = model(batch)
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc"}
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert all(parameter.grad.any() for parameter in model.roi_heads.box_head.parameters())
    optimizer.step()
    with torch.no_grad():
        results = [output["instances"] for output in model.eval()(batch)]
    for instances in results:
        assert 0 < len(instances) <= 100
        assert instances.scores.isfinite().all()
        boxes = instances.pred_boxes.tensor
        assert boxes.min() >= 0 and boxes.max() <= 128
