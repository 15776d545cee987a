"""Multi-scale testing around a detector that finds rectangles exactly, and around real ones."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.config import load_config
from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import build_model
from dyhead.d2.modeling.postprocessing import detector_postprocess
from dyhead.d2.structures import Boxes, Instances
from dyhead.errors import UserError
from dyhead.modeling.tta import MultiScaleTesting, View, build_multi_scale_testing, plan_views

# In pixels of the image, XYXY; even, so that halving the image keeps the edges between pixels.
SMALL, LARGE = [4.0, 6, 12, 14], [28.0, 4, 60, 36]  # sizes 8 and 32
HEIGHT, WIDTH = 48, 64


class RectangleFinder(nn.Module):
    """Finds the bright rectangle of each channel, whose index is the class, and records its inputs.

    The score is `scores[length of the view's shorter side]`, 0.5 by default.
    """

    test_nms_thresh = 0.6

    def __init__(self, scores: dict[int, float] | None = None) -> None:
        super().__init__()
        self.scores = scores or {}
        self.images: list[Tensor] = []
        self.eval()

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        return [{"instances": self.find(x)} for x in batch]

    def find(self, x: dict[str, Any]) -> Instances:
        image = x["image"]
        self.images.append(image)
        found = [(c, plane) for c, plane in enumerate(image > 127) if plane.any()]
        size = (image.shape[1], image.shape[2])
        instances = Instances(
            size,
            pred_boxes=Boxes(torch.tensor([extent(plane) for _, plane in found]).reshape(-1, 4)),
            scores=torch.full((len(found),), self.scores.get(min(size), 0.5)),
            pred_classes=torch.tensor([c for c, _ in found], dtype=torch.int64),
        )
        return detector_postprocess(instances, x["height"], x["width"])


def extent(plane: Tensor) -> list[float]:
    rows, columns = plane.any(dim=1).nonzero(), plane.any(dim=0).nonzero()
    corners = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return [float(corner) for corner in corners]


def draw(*rectangles: list[float]) -> np.ndarray:
    """An RGB image with one rectangle per channel."""
    image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    for channel, (x1, y1, x2, y2) in enumerate(rectangles):
        image[int(y1) : int(y2), int(x1) : int(x2), channel] = 255
    return image


@pytest.fixture
def inputs(tmp_path: Path) -> list[dict[str, Any]]:
    """One image; the `image` at hand is black, so only the file shows the rectangles."""
    Image.fromarray(draw(SMALL, LARGE)).save(tmp_path / "image.png")
    black = torch.zeros(3, 30, 40, dtype=torch.uint8)
    file_name = str(tmp_path / "image.png")
    return [{"image": black, "file_name": file_name, "height": HEIGHT, "width": WIDTH}]


def multi_scale(model: nn.Module, *views: View, **options: Any) -> MultiScaleTesting:
    return MultiScaleTesting(model, views=list(views), image_format="RGB", **options)


def view(min_size: int, is_flipped: bool = False, low: float = 0.0, high: float = math.inf) -> View:
    return View(min_size, 1000, is_flipped, (low, high))


def detect(model: nn.Module, inputs: list[dict[str, Any]]) -> dict[int, tuple[list[float], float]]:
    """Box and score of each class found in the first image; there must be one of each."""
    instances = model(inputs)[0]["instances"]
    classes = instances.pred_classes.tolist()
    assert len(set(classes)) == len(classes)
    found = zip(instances.pred_boxes.tensor.tolist(), instances.scores.tolist(), strict=True)
    return dict(zip(classes, found, strict=True))


@pytest.mark.parametrize("is_flipped", [False, True])
@pytest.mark.parametrize("min_size", [24, 48, 96, 144, 0])
def test_boxes_of_every_view_come_back_exactly(
    inputs: list[dict[str, Any]], min_size: int, is_flipped: bool
) -> None:
    found = detect(multi_scale(RectangleFinder(), view(min_size, is_flipped)), inputs)
    assert found == {0: (SMALL, 0.5), 1: (LARGE, 0.5)}


@pytest.mark.parametrize("merge", ["nms", "wbf"])
def test_all_views_are_computed_and_merged(inputs: list[dict[str, Any]], merge: str) -> None:
    model = RectangleFinder({24: 0.9, 48: 0.6, 96: 0.3})
    views = plan_views((24, 48, 96), 100)
    testing = multi_scale(model, *views, merge=merge)
    found = detect(testing, inputs)
    shapes = [(24, 32), (48, 64), (75, 100)]  # the last is limited by the longer side
    assert [image.shape[1:] for image in model.images] == [s for s in shapes for _ in range(2)]
    for straight, flipped in zip(model.images[::2], model.images[1::2], strict=True):
        assert torch.equal(straight, flipped.flip(2)) and not torch.equal(straight, flipped)
    score = 0.9 if merge == "nms" else (0.9 + 0.6 + 0.5) / 3
    for class_, box in enumerate((SMALL, LARGE)):
        tolerance = 0.0 if merge == "nms" else 0.5  # 64 / 100 leaves no whole pixels
        assert found[class_][0] == pytest.approx(box, abs=tolerance)
        assert found[class_][1] == pytest.approx(score)


def test_boxes_are_kept_at_the_scales_where_their_size_is_valid(
    inputs: list[dict[str, Any]],
) -> None:
    model = RectangleFinder({24: 0.9, 96: 0.3})
    scales = (view(24, low=16), view(96, high=16))
    found = detect(multi_scale(model, *scales), inputs)
    assert found == {0: (SMALL, pytest.approx(0.3)), 1: (LARGE, pytest.approx(0.9))}
    # only the views at which a size is valid could have found it: no score is lowered
    assert detect(multi_scale(model, *scales, merge="wbf"), inputs) == found
    assert detect(multi_scale(model, view(24, low=8.5, high=31.5)), inputs) == {}
    assert len(detect(multi_scale(model, view(24, low=8, high=32)), inputs)) == 2


def test_a_box_that_one_view_misses_is_believed_less(inputs: list[dict[str, Any]]) -> None:
    class Shortsighted(RectangleFinder):
        def find(self, x: dict[str, Any]) -> Instances:
            instances = super().find(x)
            is_seen = instances.pred_boxes.area() * x["image"].shape[1] / HEIGHT > 64
            return instances[is_seen]

    found = detect(multi_scale(Shortsighted(), view(48), view(96), merge="wbf"), inputs)
    assert found == {0: (SMALL, 0.25), 1: (LARGE, 0.5)}


def test_views_of_an_image_without_a_file_are_made_of_the_image() -> None:
    image = torch.as_tensor(draw(SMALL, LARGE)).permute(2, 0, 1)
    model = RectangleFinder()
    testing = multi_scale(model, *plan_views((24, 96), 1000))
    assert detect(testing, [{"image": image}]) == {0: (SMALL, 0.5), 1: (LARGE, 0.5)}
    assert [image.shape[1] for image in model.images] == [24, 24, 96, 96]
    twice = [{"image": image, "height": 2 * HEIGHT, "width": 2 * WIDTH}]
    assert detect(testing, twice)[1][0] == [2 * v for v in LARGE]
    assert torch.equal(image, torch.as_tensor(draw(SMALL, LARGE)).permute(2, 0, 1))


def test_a_batch_is_looked_at_together(inputs: list[dict[str, Any]], tmp_path: Path) -> None:
    Image.fromarray(draw(LARGE)[:, ::-1]).save(tmp_path / "mirrored.png")
    Image.fromarray(draw()).save(tmp_path / "empty.png")
    batch = [{**inputs[0], "file_name": str(tmp_path / name)} for name in
             ("image.png", "mirrored.png", "empty.png")]  # fmt: skip
    results = multi_scale(RectangleFinder(), *plan_views((24, 48), 1000))(batch)
    boxes = [result["instances"].pred_boxes.tensor.tolist() for result in results]
    x1, y1, x2, y2 = LARGE
    assert boxes[1:] == [[[WIDTH - x2, y1, WIDTH - x1, y2]], []]
    assert sorted(boxes[0]) == [SMALL, LARGE]
    fused = multi_scale(RectangleFinder(), *plan_views((24, 48), 1000), merge="wbf")(batch)
    assert [len(result["instances"]) for result in fused] == [2, 1, 0]
    assert [result["instances"].image_size for result in fused] == [(HEIGHT, WIDTH)] * 3


def test_images_are_read_in_the_models_format(inputs: list[dict[str, Any]]) -> None:
    testing = MultiScaleTesting(RectangleFinder(), views=[view(48)], image_format="BGR")
    assert detect(testing, inputs) == {2: (SMALL, 0.5), 1: (LARGE, 0.5)}


class TwoScores(RectangleFinder):
    """Scores the second class higher, and gives the boxes worst first."""

    def find(self, x: dict[str, Any]) -> Instances:
        instances = super().find(x)
        instances.scores = torch.tensor([0.2, 0.7])
        return instances


def test_the_best_detections_are_returned(inputs: list[dict[str, Any]]) -> None:
    views = plan_views((24, 48), 1000)
    every = multi_scale(TwoScores(), *views, max_detections_per_image=-1)(inputs)[0]["instances"]
    assert every.scores.tolist() == pytest.approx([0.7, 0.2])
    best = multi_scale(TwoScores(), *views, max_detections_per_image=1)
    assert list(detect(best, inputs)) == [1]


def test_the_threshold_is_the_models_own_unless_given() -> None:
    assert multi_scale(RectangleFinder(), view(48)).iou_threshold == 0.6
    assert multi_scale(RectangleFinder(), view(48), iou_threshold=0.3).iou_threshold == 0.3
    with pytest.raises(UserError, match="IOU_THRESHOLD is 0.0, but Identity"):
        multi_scale(nn.Identity(), view(48))


def test_an_evaluation_leaves_the_model_in_its_mode(inputs: list[dict[str, Any]]) -> None:
    model = RectangleFinder()
    assert not multi_scale(model, view(48)).training
    testing = multi_scale(model.train(), view(48))
    assert testing.training and model.training
    with pytest.raises(RuntimeError, match="evaluation mode"):
        testing(inputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MIN_SIZES": ()}, "MIN_SIZES is empty"),
        ({"MIN_SIZES": (400, -1)}, "MIN_SIZES is"),
        ({"MAX_SIZE": 0}, "MAX_SIZE is 0"),
        ({"MERGE": "mean"}, "MERGE is 'mean'"),
        ({"IOU_THRESHOLD": 1.0}, "IOU_THRESHOLD is 1.0"),
        ({"VALID_SIZES": [[0, 96]]}, "VALID_SIZES has 1 entries for the 2"),
        ({"VALID_SIZES": [[0, 96], [96, 96]]}, r"VALID_SIZES has the entry \[96, 96\]"),
        ({"VALID_SIZES": [[0, 96], [-1, 96]]}, "VALID_SIZES has the entry"),
        ({"VALID_SIZES": [0, 96]}, "VALID_SIZES has the entry 0"),
    ],
)
def test_mistakes_are_answered_with_one_sentence(changes: dict[str, Any], message: str) -> None:
    cfg = config(**{f"TEST.AUG.{key}": value for key, value in changes.items()})
    with pytest.raises(UserError, match=f"TEST.AUG.{message}"):
        build_multi_scale_testing(cfg, RectangleFinder())


@pytest.mark.parametrize("key", ["MASK_ON", "KEYPOINT_ON"])
def test_only_boxes_are_merged(key: str) -> None:
    with pytest.raises(UserError, match=f"set MODEL.{key} to False"):
        build_multi_scale_testing(config(**{f"MODEL.{key}": True}), RectangleFinder())


def config(**changes: Any) -> CfgNode:
    cfg, _ = load_config("")
    cfg.TEST.AUG.ENABLED, cfg.TEST.AUG.MIN_SIZES = True, (24, 48)
    cfg.merge_from_list([part for item in changes.items() for part in item])
    return cfg


def test_every_key_reaches_the_module(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    changes = {"MAX_SIZE": 90, "FLIP": True, "MERGE": "wbf", "IOU_THRESHOLD": 0.4}
    cfg = config(**{f"TEST.AUG.{key}": value for key, value in changes.items()})
    cfg.TEST.AUG.VALID_SIZES = [[16, -1], [0, 32.5]]
    cfg.TEST.DETECTIONS_PER_IMAGE, cfg.INPUT.FORMAT = 7, "RGB"
    model = RectangleFinder()
    testing = build_multi_scale_testing(cfg, model)
    assert isinstance(testing, MultiScaleTesting) and testing.model is model
    assert testing.views == [
        View(size, 90, is_flipped, sizes)
        for size, sizes in ((24, (16.0, math.inf)), (48, (0.0, 32.5)))
        for is_flipped in (False, True)
    ]
    assert (testing.merge, testing.iou_threshold) == ("wbf", 0.4)
    assert (testing.max_detections_per_image, testing.image_format) == (7, "RGB")
    assert "4 views per image" in caplog.text
    cfg.TEST.AUG.FLIP = False
    assert len(build_multi_scale_testing(cfg, model).views) == 2  # type: ignore[arg-type]
    cfg.TEST.AUG.ENABLED = False
    assert build_multi_scale_testing(cfg, model) is model


def test_a_distributed_model_is_unwrapped(tmp_path: Path) -> None:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = nn.Sequential(RectangleFinder(), nn.Linear(1, 1))
        distributed = nn.parallel.DistributedDataParallel(model)
        assert build_multi_scale_testing(config(), distributed).model is model
    finally:
        torch.distributed.destroy_process_group()


def tiny(meta_architecture: str) -> CfgNode:
    """A detector with random weights and low thresholds, which finds a lot."""
    cfg = config()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = meta_architecture, "cpu"
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32], [64], [128], [256]]
    levels = ["p3", "p4", "p5", "p6", "p7"]
    if meta_architecture == "GeneralizedRCNN":
        levels = ["p2", "p3", "p4", "p5", "p6"]
        cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
        cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = [
            "res2",
            "res3",
            "res4",
            "res5",
        ]
        cfg.MODEL.RPN.IN_FEATURES = levels
        cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 60
        roi_heads = cfg.MODEL.ROI_HEADS
        roi_heads.NAME, roi_heads.IN_FEATURES = "StandardROIHeads", levels[:4]
        roi_heads.NUM_CLASSES, roi_heads.SCORE_THRESH_TEST = 2, 0.01
        box_head = cfg.MODEL.ROI_BOX_HEAD
        box_head.NAME, box_head.NUM_FC, box_head.FC_DIM = "FastRCNNConvFCHead", 1, 32
        box_head.POOLER_RESOLUTION = 7
        return cfg
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    retinanet, atss = cfg.MODEL.RETINANET, cfg.MODEL.ATSS
    retinanet.NUM_CLASSES = atss.NUM_CLASSES = 2
    retinanet.NUM_CONVS, atss.NUM_CONVS, atss.CHANNELS = 1, 1, 16
    atss.USE_GN = False
    retinanet.SCORE_THRESH_TEST = atss.INFERENCE_TH = 0.001
    return cfg


def random_image(tmp_path: Path) -> dict[str, Any]:
    pixels = np.random.default_rng(0).integers(0, 255, (72, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "random.png")
    bgr = torch.as_tensor(pixels[:, :, ::-1].transpose(2, 0, 1).copy())
    name = str(tmp_path / "random.png")
    return {"image": bgr, "file_name": name, "height": 72, "width": 96}


@pytest.fixture
def build() -> Callable[[CfgNode], nn.Module]:
    def build_tiny(cfg: CfgNode) -> nn.Module:
        torch.manual_seed(0)
        model = build_model(cfg).eval()
        for name, parameter in model.named_parameters():  # scores that differ
            if "cls_" in name:
                parameter.data += 0.1 * torch.randn_like(parameter)
        return model

    return build_tiny


@pytest.mark.parametrize("merge", ["nms", "wbf"])
@pytest.mark.parametrize("meta_architecture", ["ATSS", "RetinaNet", "GeneralizedRCNN"])
def test_one_view_gives_the_detections_of_the_model(
    build: Callable[[CfgNode], nn.Module], tmp_path: Path, meta_architecture: str, merge: str
) -> None:
    cfg = tiny(meta_architecture)
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.FLIP, cfg.TEST.AUG.MERGE = (72,), False, merge
    model, x = build(cfg), random_image(tmp_path)
    with torch.no_grad():
        plain = model([x])[0]["instances"]
    found = build_multi_scale_testing(cfg, model)([{**x, "image": x["image"][:, :9, :9]}])
    found = found[0]["instances"]
    assert len(plain) > 10
    for field in ("scores", "pred_classes"):
        torch.testing.assert_close(found.get(field), plain.get(field), rtol=0, atol=0)
    torch.testing.assert_close(found.pred_boxes.tensor, plain.pred_boxes.tensor, rtol=0, atol=0)


@pytest.mark.skipif(HOST != "detectron2", reason="compares with genuine Detectron2")
def test_faster_rcnn_as_in_detectron2s_own_augmentation(
    build: Callable[[CfgNode], nn.Module], tmp_path: Path
) -> None:
    from detectron2.modeling import GeneralizedRCNNWithTTA

    cfg = tiny("GeneralizedRCNN")
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE = (48, 72, 101), 128
    model, x = build(cfg), random_image(tmp_path)
    with torch.no_grad():
        expected = GeneralizedRCNNWithTTA(cfg, model, batch_size=1)([x])[0]["instances"]
    found = build_multi_scale_testing(cfg, model)([x])[0]["instances"]
    assert len(expected) > 20
    torch.testing.assert_close(found.scores, expected.scores)
    assert torch.equal(found.pred_classes, expected.pred_classes)
    torch.testing.assert_close(
        found.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=1e-5, atol=1e-3
    )
