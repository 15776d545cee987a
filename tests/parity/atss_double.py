"""ATSS with DyHead on ResNet-50, written plainly, on weights under other codes' names.

Two formulations: the official code's and MMDetection's, each with its own names of weights and its
own choices. Nothing here uses the project's code. Everything works in the weights' own precision.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from atss_formulas import assign, centerness, clip, decode, focal_loss, generalised_iou
from torch import Tensor
from torchvision.ops import batched_nms, deform_conv2d

STAGES = {2: 3, 3: 4, 4: 6, 5: 3}  # ResNet-50: number of blocks
STRIDES = (8, 16, 32, 64, 128)
Weights = dict[str, Tensor]


@dataclass
class Formulation:
    """The names of a code's weights, and the points in which its computation is its own."""

    names: Callable[[str], str]
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    size_divisor: int
    stride_in_1x1: bool
    deform_bias: bool
    relu_before_p7: bool
    predictor_size: int
    anchor_offset: float
    rank_by_product: bool
    clip_first: bool
    linear_is_convolution: bool


def official_names(role: str) -> str:
    """The official name of a part, such as "res3.0.conv1", "lateral4" or "block0.offset"."""
    part = role.split(".")
    if role.startswith(("stem", "res")):
        head = "backbone.backbone.bottom_up"
        if part[0] == "stem":
            return f"{head}.stem.conv1" + (".norm" if part[1] == "norm" else "")
        layer = part[2].replace("_norm", "")
        return f"{head}.{part[0]}.{part[1]}.{layer}" + (".norm" if "_norm" in part[2] else "")
    if role.startswith(("lateral", "output")):
        return f"backbone.backbone.fpn_{role}"
    if role in ("p6", "p7"):
        return f"backbone.backbone.top_block.{role}"
    if role.startswith("block"):
        inner = {
            "coarser": "DyConv.0.conv",
            "same": "DyConv.1.conv",
            "finer": "DyConv.2.conv",
            "coarser_norm": "DyConv.0.bn",
            "same_norm": "DyConv.1.bn",
            "finer_norm": "DyConv.2.bn",
            "offset": "offset",
            "scale": "AttnConv.1",
            "squeeze": "relu.fc.0",
            "expand": "relu.fc.2",
        }[part[1]]
        return f"backbone.dyhead_tower.{part[0].removeprefix('block')}.{inner}"
    if role.startswith("scale"):
        return f"head.scales.{role.removeprefix('scale')}"
    return "head." + {"cls": "cls_logits", "box": "bbox_pred", "ctr": "centerness"}[role]


def mmdetection_names(role: str) -> str:
    """MMDetection's name of the same part."""
    part = role.split(".")
    if part[0] == "stem":
        return "backbone.bn1" if part[1] == "norm" else "backbone.conv1"
    if role.startswith("res"):
        head = f"backbone.layer{int(part[0][3:]) - 1}.{part[1]}"
        if part[2].startswith("shortcut"):
            return f"{head}.downsample.{1 if '_norm' in part[2] else 0}"
        number = part[2].removeprefix("conv")[0]
        return f"{head}.bn{number}" if "_norm" in part[2] else f"{head}.conv{number}"
    if role.startswith("lateral"):
        return f"neck.0.lateral_convs.{int(role[-1]) - 3}.conv"
    if role.startswith("output") or role in ("p6", "p7"):
        return f"neck.0.fpn_convs.{int(role[-1]) - 3}.conv"
    if role.startswith("block"):
        inner = {
            "coarser": "spatial_conv_high.conv",
            "same": "spatial_conv_mid.conv",
            "finer": "spatial_conv_low.conv",
            "coarser_norm": "spatial_conv_high.norm",
            "same_norm": "spatial_conv_mid.norm",
            "finer_norm": "spatial_conv_low.norm",
            "offset": "spatial_conv_offset",
            "scale": "scale_attn_module.1",
            "squeeze": "task_attn_module.conv1.conv",
            "expand": "task_attn_module.conv2.conv",
        }[part[1]]
        return f"neck.1.dyhead_blocks.{part[0].removeprefix('block')}.{inner}"
    if role.startswith("scale"):
        return f"bbox_head.scales.{role.removeprefix('scale')}"
    return "bbox_head." + {"cls": "atss_cls", "box": "atss_reg", "ctr": "atss_centerness"}[role]


OFFICIAL = Formulation(
    names=official_names,
    pixel_mean=(103.53, 116.28, 123.675),
    pixel_std=(1.0, 1.0, 1.0),
    size_divisor=128,
    stride_in_1x1=True,
    deform_bias=True,
    relu_before_p7=True,
    predictor_size=1,
    anchor_offset=0.5,
    rank_by_product=True,
    clip_first=False,
    linear_is_convolution=False,
)
MMDETECTION_REPRODUCTION = replace(
    OFFICIAL,
    names=mmdetection_names,
    deform_bias=False,
    relu_before_p7=False,
    rank_by_product=False,
    clip_first=True,
    linear_is_convolution=True,
)
MMDETECTION_SIMPLE = replace(
    MMDETECTION_REPRODUCTION,
    pixel_mean=(123.675, 116.28, 103.53),
    pixel_std=(58.395, 57.12, 57.375),
    size_divisor=32,
    stride_in_1x1=False,
    predictor_size=3,
    anchor_offset=0.0,
)


def random_weights(
    form: Formulation, channels: int, num_blocks: int, num_classes: int, width: int, stem: int
) -> Weights:
    """A whole detector's weights in float64, such that offsets are wide and detections exist.

    Args:
        form: names and shapes to use.
        channels: of the pyramid and the blocks.
        num_blocks: DyHead blocks.
        num_classes: classes.
        width: channels of the first stage's 3x3 convolutions, a quarter of its output's.
        stem: channels of the stem.
    """
    weights: Weights = {}

    def add(role: str, shape: tuple[int, ...], bias: bool = True, gain: float = 1.0) -> None:
        fan_in = math.prod(shape[1:])
        value = torch.randn(shape, dtype=torch.float64) * gain / math.sqrt(fan_in)
        weights[form.names(role) + ".weight"] = value
        if bias:
            value = 0.1 * torch.randn(shape[0], dtype=torch.float64)
            weights[form.names(role) + ".bias"] = value

    def add_norm(role: str, count: int, has_statistics: bool) -> None:
        name = form.names(role)
        weights[name + ".weight"] = 0.75 + 0.5 * torch.rand(count, dtype=torch.float64)
        weights[name + ".bias"] = 0.1 * torch.randn(count, dtype=torch.float64)
        if has_statistics:
            weights[name + ".running_mean"] = 0.1 * torch.randn(count, dtype=torch.float64)
            weights[name + ".running_var"] = 0.75 + 0.5 * torch.rand(count, dtype=torch.float64)

    add("stem.conv", (stem, 3, 7, 7), bias=False, gain=2 / form.pixel_mean[0])
    add_norm("stem.norm", stem, True)
    inputs = stem
    for stage, num_layers in STAGES.items():
        middle = width << (stage - 2)
        for layer in range(num_layers):
            shapes = {
                "conv1": (middle, inputs, 1, 1),
                "conv2": (middle, middle, 3, 3),
                "conv3": (4 * middle, middle, 1, 1),
            }
            if layer == 0:
                shapes["shortcut"] = (4 * middle, inputs, 1, 1)
            for name, shape in shapes.items():
                add(f"res{stage}.{layer}.{name}", shape, bias=False, gain=0.7)
                add_norm(f"res{stage}.{layer}.{name}_norm", shape[0], True)
            inputs = 4 * middle
    for level in (3, 4, 5):
        add(f"lateral{level}", (channels, 4 * width << (level - 2), 1, 1))
        add(f"output{level}", (channels, channels, 3, 3))
    for role in ("p6", "p7"):
        add(role, (channels, channels, 3, 3), gain=1.5)
    for block in range(num_blocks):
        for branch in ("coarser", "same", "finer"):
            shape = (channels, channels, 3, 3)
            add(f"block{block}.{branch}", shape, bias=form.deform_bias)
            add_norm(f"block{block}.{branch}_norm", channels, False)
        add(f"block{block}.offset", (27, channels, 3, 3), gain=2.5)
        one = (1, 1) if form.linear_is_convolution else ()
        add(f"block{block}.scale", (1, channels, 1, 1))
        add(f"block{block}.squeeze", (channels // 4, channels, *one))
        add(f"block{block}.expand", (4 * channels, channels // 4, *one), gain=2)
    size = (form.predictor_size, form.predictor_size)
    add("cls", (num_classes, channels, *size), gain=2)
    weights[form.names("cls") + ".bias"] -= 2.5
    add("box", (4, channels, *size))
    add("ctr", (1, channels, *size), gain=2)
    for level in range(5):
        weights[form.names(f"scale{level}") + ".scale"] = torch.rand(1, dtype=torch.float64) + 0.5
    return weights


class Double:
    """The detector as functions of its weights."""

    def __init__(self, form: Formulation, weights: Weights) -> None:
        self.form = form
        self.weights = weights
        first = form.names("block0.offset").split(".0.")[0]
        names = (name.removeprefix(first + ".") for name in weights if name.startswith(first))
        self.num_blocks = len({name.split(".")[0] for name in names})

    def get(self, role: str, kind: str) -> Tensor | None:
        return self.weights.get(f"{self.form.names(role)}.{kind}")

    def conv(self, role: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.get(role, "weight")
        assert weight is not None
        return F.conv2d(x, weight, self.get(role, "bias"), stride, weight.shape[-1] // 2)

    def batch_norm(self, role: str, x: Tensor) -> Tensor:
        mean, variance, weight, bias = (
            self.get(role, kind).view(-1, 1, 1)
            for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    def bottom_up(self, x: Tensor) -> dict[int, Tensor]:
        x = self.batch_norm("stem.norm", self.conv("stem.conv", x, stride=2)).relu()
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        features = {}
        for stage, num_layers in STAGES.items():
            for layer in range(num_layers):
                x = self.bottleneck(f"res{stage}.{layer}", x, 2 if stage > 2 and layer == 0 else 1)
            features[stage] = x
        return features

    def bottleneck(self, role: str, x: Tensor, stride: int) -> Tensor:
        strides = (stride, 1) if self.form.stride_in_1x1 else (1, stride)
        y = self.batch_norm(f"{role}.conv1_norm", self.conv(f"{role}.conv1", x, strides[0])).relu()
        y = self.batch_norm(f"{role}.conv2_norm", self.conv(f"{role}.conv2", y, strides[1])).relu()
        y = self.batch_norm(f"{role}.conv3_norm", self.conv(f"{role}.conv3", y))
        if self.get(f"{role}.shortcut", "weight") is not None:
            x = self.conv(f"{role}.shortcut", x, stride)
            x = self.batch_norm(f"{role}.shortcut_norm", x)
        return (x + y).relu()

    def pyramid(self, x: Tensor) -> list[Tensor]:
        features = self.bottom_up(x)
        fused = self.conv("lateral5", features[5])
        levels = [self.conv("output5", fused)]
        for level in (4, 3):
            doubled = fused.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            fused = self.conv(f"lateral{level}", features[level]) + doubled
            levels.insert(0, self.conv(f"output{level}", fused))
        p6 = self.conv("p6", levels[-1], stride=2)
        p7 = self.conv("p7", p6.relu() if self.form.relu_before_p7 else p6, stride=2)
        return [*levels, p6, p7]

    def deformable(self, role: str, x: Tensor, maps: Tensor, stride: int = 1) -> Tensor:
        """The kernel's reading: the beginning of each sample's memory, in the output's size."""
        height, width = ((length - 1) // stride + 1 for length in x.shape[2:])
        area = height * width
        offset = maps[:, :18].flatten(1)[:, : 18 * area].reshape(-1, 18, height, width)
        mask = maps[:, 18:].sigmoid().flatten(1)[:, : 9 * area].reshape(-1, 9, height, width)
        weight, bias = self.get(role, "weight"), self.get(role, "bias")
        y = deform_conv2d(x, offset, weight, bias, stride, padding=1, mask=mask)
        norm = f"{role}_norm"
        return F.group_norm(y, 16, self.get(norm, "weight"), self.get(norm, "bias"))

    def block(self, block: str, levels: list[Tensor]) -> list[Tensor]:
        outputs = []
        for index, level in enumerate(levels):
            maps = self.conv(f"{block}.offset", level)
            branches = [self.deformable(f"{block}.same", level, maps)]
            if index > 0:
                branches.append(self.deformable(f"{block}.finer", levels[index - 1], maps, 2))
            if index + 1 < len(levels):
                coarse = self.deformable(f"{block}.coarser", levels[index + 1], maps)
                size = level.shape[2:]
                branches.append(F.interpolate(coarse, size, mode="bilinear", align_corners=True))
            total = 0
            for branch in branches:
                score = self.conv(f"{block}.scale", branch.mean((2, 3), keepdim=True)).relu()
                total = total + branch * (F.relu6(score + 3) / 6)
            outputs.append(self.dynamic_relu(block, total / len(branches)))
        return outputs

    def dynamic_relu(self, block: str, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3))
        for role in ("squeeze", "expand"):
            weight, bias = (self.get(f"{block}.{role}", kind) for kind in ("weight", "bias"))
            pooled = F.linear(pooled, weight.flatten(1), bias)
            if role == "squeeze":
                pooled = pooled.relu()
        a1, b1, a2, b2 = (F.relu6(pooled + 3) / 6 - 0.5)[..., None, None].chunk(4, dim=1)
        return torch.maximum(x * (2 * a1 + 1) + b1, x * 2 * a2 + b2)

    def outputs(self, images: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Class logits, box deltas and centre-ness logits of every level, as maps."""
        levels = self.pyramid(images)
        for index in range(self.num_blocks):
            levels = self.block(f"block{index}", levels)
        return [
            (
                self.conv("cls", level),
                self.conv("box", level) * self.get(f"scale{index}", "scale"),
                self.conv("ctr", level),
            )
            for index, level in enumerate(levels)
        ]

    def batch(self, inputs: list[dict[str, Any]]) -> Tensor:
        dtype = next(iter(self.weights.values())).dtype
        mean, std = (
            torch.tensor(values, dtype=torch.float32).to(dtype).view(3, 1, 1)
            for values in (self.form.pixel_mean, self.form.pixel_std)
        )
        images = [(x["image"].to(dtype) - mean) / std for x in inputs]
        divisor = self.form.size_divisor
        height, width = (
            math.ceil(max(image.shape[axis] for image in images) / divisor) * divisor
            for axis in (1, 2)
        )
        padded = [F.pad(i, (0, width - i.shape[2], 0, height - i.shape[1])) for i in images]
        return torch.stack(padded)

    def anchors(self, height: int, width: int, stride: int) -> Tensor:
        """Squares of 8 strides round every position, row by row: (H * W, 4)."""
        offset = self.form.anchor_offset * stride
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        centres = torch.stack((x, y), dim=-1).view(-1, 2).double() * stride + offset
        return torch.cat((centres - 4 * stride, centres + 4 * stride), dim=1)

    # --- Detections ---

    def detect(self, inputs: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
        """Boxes (D, 4) in the sizes asked for, scores and classes of every image, best first."""
        images = self.batch(inputs)
        outputs = self.outputs(images)
        return [self.detect_image(x, i, outputs) for i, x in enumerate(inputs)]

    def detect_image(self, x: dict[str, Any], image: int, outputs: Any) -> dict[str, Tensor]:
        height, width = x["image"].shape[1:]
        found = []
        for (cls, box, ctr), stride in zip(outputs, STRIDES, strict=True):
            anchors = self.anchors(*cls.shape[2:], stride).to(cls.dtype)
            scores = cls[image].flatten(1).t().sigmoid()
            products = scores * ctr[image].flatten().sigmoid()[:, None]
            where = (scores > 0.05).nonzero()
            rank = (products if self.form.rank_by_product else scores)[where[:, 0], where[:, 1]]
            where = where[rank.argsort(descending=True, stable=True)[:1000]]
            boxes = decode(anchors, box[image].flatten(1).t())[where[:, 0]]
            found.append((boxes, products[where[:, 0], where[:, 1]], where[:, 1]))
        boxes, scores, classes = (torch.cat(parts) for parts in zip(*found, strict=True))
        if self.form.clip_first:
            boxes = clip(boxes, height, width)
            kept = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
            boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
        kept = batched_nms(boxes, scores, classes, 0.6)[:100]
        boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
        new_height, new_width = x.get("height", height), x.get("width", width)
        scale = boxes.new_tensor([new_width / width, new_height / height] * 2)
        boxes = clip(boxes * scale, new_height, new_width)
        kept = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
        return {"boxes": boxes[kept], "scores": scores[kept], "classes": classes[kept]}

    # --- Losses ---

    def losses(self, inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """The three losses of a batch, image by image and object by object."""
        outputs = self.outputs(self.batch(inputs))
        anchors = [
            self.anchors(*cls.shape[2:], stride)
            for (cls, _, _), stride in zip(outputs, STRIDES, strict=True)
        ]
        anchors_all = torch.cat(anchors).to(outputs[0][0].dtype)
        focal = giou = centre = outputs[0][0].new_zeros(())
        num_positives, weight_sum = 0, outputs[0][0].new_zeros(())
        for image, x in enumerate(inputs):
            cls, box, ctr = (
                torch.cat([level[kind][image].flatten(1).t() for level in outputs])
                for kind in range(3)
            )
            boxes = x["instances"].gt_boxes.tensor.double()
            owners = assign(anchors, boxes)
            target = torch.zeros_like(cls)
            for anchor, owner in owners.items():
                target[anchor, x["instances"].gt_classes[owner]] = 1
            focal = focal + focal_loss(cls, target)
            for anchor, owner in owners.items():
                goal = boxes[owner].to(cls.dtype)
                weight = centerness(anchors_all[anchor], goal)
                predicted = decode(anchors_all[anchor][None], box[anchor][None])[0]
                giou = giou + weight * (1 - generalised_iou(predicted, goal))
                centre = centre + F.binary_cross_entropy_with_logits(ctr[anchor, 0], weight)
                num_positives += 1
                weight_sum = weight_sum + weight
        count = max(num_positives, 1)
        return {
            "loss_cls": focal / count,
            "loss_ctr": centre / count,
            "loss_box_reg": 2 * giou / weight_sum if num_positives else giou,
        }
