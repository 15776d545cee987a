"""Multi-scale testing around a detector that finds rectangles exactly."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rectangle_finder import HEIGHT, LARGE, SMALL, WIDTH, RectangleFinder, draw
from torch import nn

from dyhead.d2.structures import Instances
from dyhead.errors import UserError
from dyhead.modeling.tta import MultiScaleTesting, View, plan_views


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
