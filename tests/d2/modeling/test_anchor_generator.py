"""Anchors."""

import pytest
import torch

from dyhead.d2.config import get_cfg
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling.anchor_generator import DefaultAnchorGenerator, build_anchor_generator


def anchors_by_hand(height, width, stride, offset, sizes, ratios):
    """Anchors straight from the definition: area size ** 2, height / width = ratio."""
    rows = []
    for y in range(height):
        for x in range(width):
            for size in sizes:
                for ratio in ratios:
                    w = (size**2 / ratio) ** 0.5
                    h = ratio * w
                    cx, cy = (x + offset) * stride, (y + offset) * stride
                    rows.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
    return torch.tensor(rows)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_anchors_follow_the_definition(offset):
    generator = DefaultAnchorGenerator(
        sizes=[[32, 64], [100]], aspect_ratios=[[0.25, 1, 4]], strides=[4, 16], offset=offset
    )
    anchors = generator([torch.rand(2, 8, 3, 5), torch.rand(2, 8, 1, 2)])
    expected = anchors_by_hand(3, 5, 4, offset, [32, 64], [0.25, 1, 4])
    torch.testing.assert_close(anchors[0].tensor, expected)
    expected = anchors_by_hand(1, 2, 16, offset, [100], [0.25, 1, 4])
    torch.testing.assert_close(anchors[1].tensor, expected)
    assert generator.num_anchors == generator.num_cell_anchors == [6, 3]
    assert generator.box_dim == 4


def test_generator_from_config():
    cfg = get_cfg()
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[64]]
    cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [[1.0]]
    cfg.MODEL.ANCHOR_GENERATOR.OFFSET = 0.5
    generator = build_anchor_generator(cfg, [ShapeSpec(stride=8), ShapeSpec(stride=16)])
    first, second = generator([torch.rand(1, 4, 2, 2), torch.rand(1, 4, 1, 1)])
    assert first.tensor[0].tolist() == [-28, -28, 36, 36]
    assert first.tensor[1].tolist() == [-20, -28, 44, 36]
    assert second.tensor.tolist() == [[-24, -24, 40, 40]]


def test_anchors_are_no_weights():
    generator = DefaultAnchorGenerator(sizes=[32], aspect_ratios=[1.0], strides=[8])
    assert generator.state_dict() == {}
    assert list(generator.parameters()) == []


@pytest.mark.parametrize("arguments", [{"offset": 1.0}, {"sizes": []}, {"sizes": [[1], [2], [3]]}])
def test_bad_arguments_are_refused(arguments):
    arguments = {"sizes": [[8]], "aspect_ratios": [[1.0]], "strides": [4, 8], **arguments}
    with pytest.raises((AssertionError, ValueError)):
        DefaultAnchorGenerator(**arguments)


@pytest.mark.filterwarnings("ignore")
def test_a_scripted_generator_gives_the_same_anchors():
    generator = DefaultAnchorGenerator(
        sizes=[[32], [64]], aspect_ratios=[[0.5, 1, 2]], strides=[8, 16], offset=0.5
    )
    features = [torch.rand(1, 4, 5, 6), torch.rand(1, 4, 3, 3)]
    scripted = torch.jit.script(generator)(features)
    for found, expected in zip(scripted, generator(features), strict=True):
        assert torch.equal(found.tensor, expected.tensor)
