"""A whole detector of the official code, its file in MODEL.WEIGHTS: same detections and losses.

DYNAMICHEAD_SOURCE names a checkout of microsoft/DynamicHead, and genuine Detectron2 must be
importable for it; ours runs on whichever host is chosen. DYHEAD_PARITY_COCO names a folder of data
sets with coco/val2017 for the slow tests on real images.
"""

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from matching import assert_same_detections
from torch import nn

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.checkpoint import SafeCheckpointer
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import build_model
from dyhead.d2.structures import Boxes, Instances

CONFIGS = Path(__file__).parents[2] / "configs"
CHECKOUT = os.environ.get("DYNAMICHEAD_SOURCE", "")
DATASETS = os.environ.get("DYHEAD_PARITY_COCO", "")
SMALL = {
    "MODEL.DYHEAD.NUM_CONVS": 2,
    "MODEL.DYHEAD.CHANNELS": 32,
    "MODEL.FPN.OUT_CHANNELS": 32,
    "MODEL.ATSS.CHANNELS": 32,
    "MODEL.ATSS.NUM_CLASSES": 4,
}
SMALL_RESNET = {
    "MODEL.RESNETS.WIDTH_PER_GROUP": 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 32,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 16,
}
SMALL_SWIN = {"MODEL.SWINT.EMBED_DIM": 24, "MODEL.SWINT.DROP_PATH_RATE": 0.0}
CASES = {
    "dyhead_r50_atss_fpn_1x.yaml": {**SMALL, **SMALL_RESNET},
    "dyhead_swint_atss_fpn_2x_ms.yaml": {**SMALL, **SMALL_SWIN},
}

pytestmark = [
    pytest.mark.skipif(not CHECKOUT, reason="DYNAMICHEAD_SOURCE names no checkout"),
    pytest.mark.skipif(
        importlib.util.find_spec("detectron2") is None,
        reason="the official code needs genuine Detectron2 on the path",
    ),
    pytest.mark.filterwarnings("ignore"),
]


def spread_weights(model: nn.Module) -> None:
    """Random weights that give wide offsets, non-trivial statistics and plenty of detections."""
    generator = torch.Generator().manual_seed(0)

    def normal(parameter: nn.Parameter, std: float) -> None:
        nn.init.normal_(parameter, std=std, generator=generator)

    for name, module in model.named_modules():
        if name.endswith(".offset"):
            normal(module.weight, 2.5 / module.weight[0].numel() ** 0.5)
        if name.endswith("relu.fc.2") or ".AttnConv." in name and hasattr(module, "weight"):
            normal(module.weight, 2 / module.weight[0].numel() ** 0.5)
        if hasattr(module, "running_var"):
            module.running_var.uniform_(0.75, 1.25, generator=generator)
            module.running_mean.normal_(std=0.1, generator=generator)
            nn.init.uniform_(module.weight, 0.3, 0.6, generator=generator)
    for part, std in (("cls_logits", 3), ("bbox_pred", 1), ("centerness", 3)):
        weight = getattr(model.head, part).weight
        normal(weight, std / weight.shape[1] ** 0.5)
    nn.init.constant_(model.head.cls_logits.bias, -2.5)


def as_options(changes: dict[str, Any]) -> list[str]:
    return [str(part) for item in changes.items() for part in item]


def build_pair(
    config: str, changes: dict[str, Any], folder: Path
) -> tuple[nn.Module, nn.Module, CfgNode]:
    """The official model, and ours loaded from the official model's checkpoint file."""
    from official_source import build_official

    torch.manual_seed(0)
    theirs = build_official(CHECKOUT, config, ["MODEL.DEVICE", "cpu", *as_options(changes)])
    spread_weights(theirs)
    path = folder / "official.pth"
    torch.save({"model": theirs.state_dict(), "iteration": 89999}, path)
    options = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", str(path), *as_options(changes)]
    cfg, _ = load_config(str(CONFIGS / config), options)
    ours = build_model(cfg)
    SafeCheckpointer(ours, cfg=cfg).resume_or_load(cfg.MODEL.WEIGHTS, resume=False)
    return theirs, ours, cfg


def compare_detections(theirs: nn.Module, ours: nn.Module, inputs: list[dict[str, Any]]) -> int:
    """Boxes to 1e-3 pixel and scores to 1e-5; returns how many there are."""
    with torch.no_grad():
        expected, outputs = theirs.eval()(inputs), ours.eval()(inputs)
    count = 0
    for one, other in zip(outputs, expected, strict=True):
        found, wanted = one["instances"], other["instances"]
        assert_same_detections(
            (found.pred_boxes.tensor, found.scores, found.pred_classes),
            (wanted.pred_boxes.tensor, wanted.scores, wanted.pred_classes),
            score_tolerance=1e-5,
        )
        count += len(found)
    return count


def compare_losses(theirs: nn.Module, ours: nn.Module, inputs: list[dict[str, Any]]) -> None:
    expected, losses = theirs.train()(to_genuine(inputs)), ours.train()(inputs)
    assert losses.keys() == expected.keys() == {"loss_cls", "loss_ctr", "loss_box_reg"}
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name], rtol=1e-5, atol=1e-6)


def to_genuine(inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ground truth in genuine Detectron2's classes, which the official code's helpers know."""
    from detectron2 import structures

    converted = []
    for x in inputs:
        instances = structures.Instances(x["instances"].image_size)
        instances.gt_boxes = structures.Boxes(x["instances"].gt_boxes.tensor)
        instances.gt_classes = x["instances"].gt_classes
        converted.append({**x, "instances": instances})
    return converted


def make_input(seed: int, size: tuple[int, int], num_objects: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    corners = torch.rand(num_objects, 2, 2, generator=generator)
    low, high = corners.amin(1), corners.amax(1) + 0.15
    boxes = torch.cat((low, high), dim=1) * torch.tensor([width, height] * 2)
    instances = Instances(
        size,
        gt_boxes=Boxes(boxes),
        gt_classes=torch.randint(0, 4, (num_objects,), generator=generator),
    )
    image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
    return {"image": image, "instances": instances, "height": 2 * height, "width": 2 * width}


@pytest.mark.parametrize("config", CASES)
def test_small_detector(config: str, tmp_path: Path) -> None:
    theirs, ours, _ = build_pair(config, CASES[config], tmp_path)
    single = [make_input(1, (130, 97), 3)]
    several = [make_input(2, (128, 128), 2), make_input(3, (100, 151), 4), single[0]]
    for batch in (single, several):
        assert compare_detections(theirs, ours, batch) > 10
        compare_losses(theirs, ours, batch)


@pytest.mark.slow
@pytest.mark.skipif(not DATASETS, reason="DYHEAD_PARITY_COCO names no folder of data sets")
def test_full_detector_on_coco(tmp_path: Path) -> None:
    """ATSS on ResNet-50 with six blocks of 256 channels, at the size that MIN_SIZE_TEST says."""
    from dyhead.d2.data import DatasetMapper
    from dyhead.d2.data.datasets import load_coco_json

    size = int(os.environ.get("DYHEAD_PARITY_SIZE", "800"))
    changes = {"INPUT.MIN_SIZE_TEST": size, "INPUT.MIN_SIZE_TRAIN": (size,)}
    theirs, ours, cfg = build_pair("dyhead_r50_atss_fpn_1x.yaml", changes, tmp_path)
    folder = Path(DATASETS, "coco")
    records = load_coco_json(
        str(folder / "annotations" / "instances_val2017.json"), str(folder / "val2017"), "parity"
    )
    mapper = DatasetMapper(cfg, is_train=False)
    total = sum(compare_detections(theirs, ours, [mapper(record)]) for record in records)
    print(f"{total} detections on {len(records)} images agree")
    assert total > 10 * len(records)

    torch.manual_seed(0)
    training_mapper = DatasetMapper(cfg, is_train=True)
    annotated = [record for record in records if record["annotations"]][:8]
    for start in range(0, len(annotated), 2):
        batch = [training_mapper(record) for record in annotated[start : start + 2]]
        with torch.no_grad():
            compare_losses(theirs, ours, batch)
