"""Box transform, post-processing and building a model."""

import math

import pytest
import torch
from torch import nn

from dyhead.d2.config import get_cfg
from dyhead.d2.modeling import META_ARCH_REGISTRY, build_model
from dyhead.d2.modeling.box_regression import Box2BoxTransform
from dyhead.d2.modeling.postprocessing import detector_postprocess
from dyhead.d2.structures import Boxes, Instances


def random_boxes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 50
    return torch.cat([corner, corner + 5 + torch.rand(count, 2, generator=generator) * 40], dim=1)


def test_deltas_give_the_target_back():
    transform = Box2BoxTransform(weights=(5, 5, 10, 10))
    source, target = random_boxes(10, 0), random_boxes(10, 1)
    deltas = transform.get_deltas(source, target)
    torch.testing.assert_close(transform.apply_deltas(deltas, source), target)


def test_deltas_by_hand():
    transform = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))
    deltas = transform.get_deltas(
        torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[5.0, 0, 25, 40]])
    )
    expected = [10 * 10 / 10, 10 * 10 / 20, 5 * math.log(2), 5 * math.log(2)]
    torch.testing.assert_close(deltas, torch.tensor([expected]))


def test_several_deltas_for_each_box():
    transform = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0))
    boxes, deltas = random_boxes(6, 0), torch.randn(6, 12)
    decoded = transform.apply_deltas(deltas, boxes)
    assert decoded.shape == (6, 12)
    for group in range(3):
        columns = slice(4 * group, 4 * group + 4)
        alone = transform.apply_deltas(deltas[:, columns], boxes)
        torch.testing.assert_close(decoded[:, columns], alone)


def test_growth_is_clamped_and_decoding_is_float32():
    transform = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0))
    decoded = transform.apply_deltas(
        torch.tensor([[0.0, 0, 50, -50]]).half(), torch.tensor([[0.0, 0, 16, 16]])
    )
    assert decoded.dtype == torch.float32
    assert (decoded[0, 2] - decoded[0, 0]).item() == pytest.approx(1000, rel=1e-4)
    assert (decoded[0, 3] - decoded[0, 1]).item() == pytest.approx(0, abs=1e-4)


def test_transform_of_no_boxes():
    transform = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0))
    nothing = torch.zeros(0, 4)
    assert transform.get_deltas(nothing, nothing).shape == (0, 4)
    assert transform.apply_deltas(nothing, nothing).shape == (0, 4)


def test_source_boxes_without_area_are_refused():
    transform = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0))
    with pytest.raises((AssertionError, ValueError, torch.jit.Error)):
        transform.get_deltas(torch.tensor([[3.0, 3, 3, 8]]), torch.tensor([[0.0, 0, 1, 1]]))


def test_detections_are_scaled_clipped_and_filtered():
    boxes = Boxes([[0, 0, 10, 10], [10, 10, 60, 60], [50, 5, 70, 20]])
    results = Instances((40, 50), pred_boxes=boxes, scores=torch.tensor([0.9, 0.8, 0.7]))
    output = detector_postprocess(results, 80, 150)
    assert output.image_size == (80, 150)
    assert output.pred_boxes.tensor.tolist() == [[0, 0, 30, 20], [30, 20, 150, 80]]
    assert output.scores.tolist() == pytest.approx([0.9, 0.8])


def test_no_detections():
    results = Instances((4, 4), pred_boxes=Boxes([]), scores=torch.zeros(0))
    output = detector_postprocess(results, 8, 8)
    assert len(output) == 0
    assert output.pred_boxes.tensor.shape == (0, 4)


def test_detections_without_boxes_are_refused():
    with pytest.raises((AssertionError, ValueError), match="boxes"):
        detector_postprocess(Instances((4, 4), scores=torch.zeros(1)), 8, 8)


def test_model_is_found_by_name_and_put_on_its_device():
    class TinyDetector(nn.Module):
        def __init__(self, cfg):
            super().__init__()
            self.linear = nn.Linear(2, len(cfg.MODEL.PIXEL_MEAN))

    if "TinyDetector" not in META_ARCH_REGISTRY:
        META_ARCH_REGISTRY.register(TinyDetector)
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "TinyDetector"
    cfg.MODEL.DEVICE = "meta"
    model = build_model(cfg)
    assert model.linear.weight.shape == (3, 2)
    assert model.linear.weight.device.type == "meta"
    assert model.training


def test_unknown_models_are_refused():
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "NoSuchDetector"
    with pytest.raises(KeyError, match="NoSuchDetector"):
        build_model(cfg)
