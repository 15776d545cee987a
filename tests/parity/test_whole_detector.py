"""A whole detector's file, loaded by MODEL.WEIGHTS, against a plain double on the same weights.

DYHEAD_PARITY_COCO names a folder of data sets with coco/val2017 for the slow tests on real images.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from atss_double import (
    MMDETECTION_REPRODUCTION,
    MMDETECTION_SIMPLE,
    OFFICIAL,
    Double,
    Formulation,
    Weights,
    random_weights,
)
from matching import assert_same_detections
from torch import Tensor, nn

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.checkpoint import SafeCheckpointer
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.data import DatasetMapper
from dyhead.d2.data.datasets import load_coco_json
from dyhead.d2.modeling import build_model
from dyhead.d2.structures import Boxes, Instances

DATASETS = os.environ.get("DYHEAD_PARITY_COCO", "")
CONFIGS = Path(__file__).parents[2] / "configs"
FORMULATIONS = {
    "dyhead_r50_atss_fpn_1x.yaml": OFFICIAL,
    "dyhead_r50_atss_fpn_1x_mmdet_reproduction.yaml": MMDETECTION_REPRODUCTION,
    "dyhead_r50_atss_fpn_1x_mmdet_simple.yaml": MMDETECTION_SIMPLE,
}
CHANNELS, BLOCKS, CLASSES, WIDTH, STEM = 32, 2, 4, 4, 8


@pytest.fixture(params=FORMULATIONS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[nn.Module, Double]:
    """Our model in float64 and the double, both of one checkpoint file."""
    form = FORMULATIONS[request.param]
    torch.manual_seed(7)
    weights = random_weights(form, CHANNELS, BLOCKS, CLASSES, WIDTH, STEM)
    path = save(weights, form, tmp_path)
    return load(request.param, path, SMALL, torch.float64)[0], Double(form, weights)


def save(weights: Weights, form: Formulation, folder: Path) -> Path:
    """Write a file as the code of that formulation writes it."""
    path = folder / "detector.pth"
    container = "model" if form is OFFICIAL else "state_dict"
    torch.save({container: weights, "optimizer": {"state": {}}}, path)
    return path


SMALL = {
    "MODEL.DYHEAD.CHANNELS": CHANNELS,
    "MODEL.DYHEAD.NUM_CONVS": BLOCKS,
    "MODEL.FPN.OUT_CHANNELS": CHANNELS,
    "MODEL.ATSS.NUM_CLASSES": CLASSES,
    "MODEL.RESNETS.WIDTH_PER_GROUP": WIDTH,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 4 * WIDTH,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": STEM,
}


def load(
    config: str, path: Path, changes: dict[str, Any], dtype: torch.dtype
) -> tuple[nn.Module, CfgNode]:
    opts = [str(part) for item in changes.items() for part in item]
    cfg, _ = load_config(str(CONFIGS / config), ["MODEL.DEVICE", "cpu", *opts])
    model = build_model(cfg).to(dtype)
    SafeCheckpointer(model, cfg=cfg).load(str(path), checkpointables=[])
    return model, cfg


def make_input(seed: int, size: tuple[int, int], num_objects: int) -> dict[str, Any]:
    """An image with ground truth; sizes are such that the anchors fit some of the boxes."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    corners = torch.rand(num_objects, 2, 2, generator=generator, dtype=torch.float64)
    low, high = corners.amin(1), corners.amax(1) + 0.15
    boxes = torch.cat((low, high), dim=1) * torch.tensor([width, height] * 2)
    instances = Instances(
        size,
        gt_boxes=Boxes(boxes.float()),
        gt_classes=torch.randint(0, CLASSES, (num_objects,), generator=generator),
    )
    image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
    return {"image": image, "instances": instances, "height": 2 * height, "width": 3 * width}


BATCHES = {
    "one image": [((128, 96), 3)],
    "three images, one without objects": [((96, 130), 2), ((70, 61), 0), ((128, 128), 5)],
    "no objects at all": [((64, 64), 0), ((50, 90), 0)],
}
every_batch = pytest.mark.parametrize("batch", BATCHES)


def make_batch(name: str) -> list[dict[str, Any]]:
    return [make_input(seed, *sizes) for seed, sizes in enumerate(BATCHES[name])]


@every_batch
def test_same_detections(case: tuple[nn.Module, Double], batch: str) -> None:
    model, double = case
    inputs = make_batch(batch)
    with torch.no_grad():
        outputs = model.eval()(inputs)
        expected = double.detect(inputs)
    for output, other in zip(outputs, expected, strict=True):
        compare(output["instances"], other, score_tolerance=1e-6)


def compare(found: Instances, other: dict[str, Tensor], score_tolerance: float) -> None:
    assert_same_detections(
        (found.pred_boxes.tensor, found.scores, found.pred_classes),
        (other["boxes"], other["scores"], other["classes"]),
        score_tolerance,
    )


@every_batch
def test_same_losses_and_gradients(case: tuple[nn.Module, Double], batch: str) -> None:
    model, double = case
    inputs = make_batch(batch)
    losses = model.train()(inputs)
    weights = {
        name: value.clone().requires_grad_("running" not in name)
        for name, value in double.weights.items()
    }
    expected = Double(double.form, weights).losses(inputs)
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        # ours takes logits to float32 first, as mixed precision needs
        torch.testing.assert_close(loss.double(), expected[name], rtol=1e-5, atol=1e-6)

    sum(losses.values()).backward()
    sum(expected.values()).backward()
    pairs = {
        "head.cls_logits": "cls",
        "backbone.blocks.0.spatial_attention.offset_and_mask": "block0.offset",
        "backbone.blocks.1.scale_attention.score": "block1.scale",
        "backbone.fpn.top_block.p6": "p6",
        "backbone.fpn.bottom_up.res4.0.conv2": "res4.0.conv2",
    }
    parameters = dict(model.named_parameters())
    for ours, role in pairs.items():
        gradient = parameters[f"{ours}.weight"].grad
        other = weights[f"{double.form.names(role)}.weight"].grad
        torch.testing.assert_close(
            gradient, other, rtol=0, atol=1e-5 * max(1, float(other.abs().max()))
        )


@pytest.mark.slow
@pytest.mark.skipif(not DATASETS, reason="DYHEAD_PARITY_COCO names no folder of data sets")
@pytest.mark.parametrize("config", [name for name in FORMULATIONS if "mmdet" in name])
def test_full_detector_on_coco(config: str, tmp_path: Path) -> None:
    """Six blocks of 256 channels in float32, images scaled to DYHEAD_PARITY_SIZE."""
    form = FORMULATIONS[config]
    torch.manual_seed(7)
    weights = random_weights(form, 256, 6, 80, 64, 64)
    weights = {name: value.float() for name, value in weights.items()}
    size = int(os.environ.get("DYHEAD_PARITY_SIZE", "800"))
    changes = {"INPUT.MIN_SIZE_TEST": size, "INPUT.MIN_SIZE_TRAIN": (size,)}
    model, cfg = load(config, save(weights, form, tmp_path), changes, torch.float32)
    double = Double(form, weights)
    folder = Path(DATASETS, "coco")
    records = load_coco_json(
        str(folder / "annotations" / "instances_val2017.json"), str(folder / "val2017"), "parity"
    )
    mapper, training_mapper = (DatasetMapper(cfg, is_train=train) for train in (False, True))
    total = 0
    for record in records:
        inputs = [mapper(record)]
        with torch.no_grad():
            found = model.eval()(inputs)[0]["instances"]
            other = double.detect(inputs)[0]
        compare(found, other, score_tolerance=1e-5)
        total += len(found)
    print(f"{config}: {total} detections on {len(records)} images agree")
    annotated = [record for record in records if record["annotations"]][:4]
    for start in (0, 2):
        batch = [training_mapper(record) for record in annotated[start : start + 2]]
        with torch.no_grad():
            losses, expected = model.train()(batch), double.losses(batch)
        for name, loss in losses.items():
            torch.testing.assert_close(loss, expected[name], rtol=1e-5, atol=1e-6)
