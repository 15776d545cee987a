import math

import pytest
import torch
from torchvision.ops import roi_align

from dyhead.d2 import HOST
from dyhead.d2.modeling.poolers import (
    ROIPooler,
    assign_boxes_to_levels,
    convert_boxes_to_pooler_format,
)
from dyhead.d2.structures import Boxes

STRIDES = (4, 8, 16, 32)


def random_boxes(count, largest, image=256):
    corner = torch.rand(count, 2) * (image - largest)
    return Boxes(torch.cat([corner, corner + 1 + torch.rand(count, 2) * (largest - 1)], dim=1))


@pytest.fixture
def pyramid():
    torch.manual_seed(0)
    features = [torch.randn(2, 3, 256 // stride, 256 // stride) for stride in STRIDES]
    return features, [random_boxes(20, 250), random_boxes(9, 100)]


def pooler(strides=STRIDES, size=7, ratio=2, pooler_type="ROIAlignV2", **options):
    return ROIPooler(size, [1 / stride for stride in strides], ratio, pooler_type, **options)


@pytest.mark.parametrize(
    ("side", "level"),
    [(1, 0), (111, 0), (112, 1), (223, 1), (224, 2), (447.9, 2), (448, 3), (896, 3), (5000, 3)],
)
def test_a_box_of_224_pixels_belongs_to_level_4(side, level):
    boxes = Boxes(torch.tensor([[10.0, 20, 10 + side, 20 + side]]))
    assert assign_boxes_to_levels([boxes], 2, 5, 224, 4).tolist() == [level]


def test_levels_follow_the_area_and_the_order_of_the_images():
    wide = Boxes(torch.tensor([[0.0, 0, 896, 56], [5, 5, 5, 9]]))
    big = Boxes(torch.tensor([[0.0, 0, 600, 600]]))
    levels = assign_boxes_to_levels([wide, Boxes(torch.zeros(0, 4)), big], 2, 5, 224, 4)
    assert levels.tolist() == [2, 0, 3]
    assert levels.dtype == torch.int64


def test_pooler_format():
    first, second = torch.rand(2, 4), torch.rand(1, 4)
    rois = convert_boxes_to_pooler_format([Boxes(first), Boxes(torch.zeros(0, 4)), Boxes(second)])
    assert rois[:, 0].tolist() == [0, 0, 2]
    assert torch.equal(rois[:, 1:], torch.cat([first, second]))


@pytest.mark.parametrize(("pooler_type", "aligned"), [("ROIAlign", False), ("ROIAlignV2", True)])
@pytest.mark.parametrize("ratio", [0, 2])
def test_each_box_alone_on_its_level(pyramid, pooler_type, aligned, ratio):
    features, boxes = pyramid
    pooled = pooler(ratio=ratio, pooler_type=pooler_type)(features, boxes)
    expected = []
    for image, of_image in enumerate(boxes):
        for box in of_image:
            side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
            level = min(max(math.floor(4 + math.log2(side / 224)), 2), 5) - 2
            feature, scale = features[level][image : image + 1], 1 / STRIDES[level]
            expected.append(roi_align(feature, [box[None]], 7, scale, ratio, aligned))
    assert pooled.shape == (29, 3, 7, 7)
    torch.testing.assert_close(pooled, torch.cat(expected))


def test_one_level_takes_every_box(pyramid):
    features, boxes = pyramid
    pooled = pooler(strides=(8,))(features[1:2], boxes)
    tensors = [of_image.tensor for of_image in boxes]
    expected = roi_align(features[1], tensors, 7, 1 / 8, 2, aligned=True)
    torch.testing.assert_close(pooled, expected)


def test_canonical_size_and_level(pyramid):
    features, boxes = pyramid
    one = pooler(canonical_box_size=112, canonical_level=3)(features, boxes)
    torch.testing.assert_close(one, pooler()(features, boxes))
    assert not torch.allclose(one, pooler(canonical_box_size=56)(features, boxes))


@pytest.mark.parametrize("strides", [(8,), (8, 16)])
def test_no_boxes(strides):
    features = [torch.rand(2, 3, 128 // s, 128 // s, requires_grad=True) for s in strides]
    none = Boxes(torch.zeros(0, 4))
    pooled = pooler(strides)(features, [none, none])
    assert pooled.shape == (0, 3, 7, 7)
    pooled.sum().backward()
    assert all(feature.grad is not None for feature in features)


def test_no_images():
    assert pooler((8, 16))([torch.rand(0, 3, 4, 4)] * 2, []).shape == (0, 3, 7, 7)


def test_gradients_reach_every_level(pyramid):
    features, boxes = pyramid
    features = [feature.requires_grad_() for feature in features]
    pooler()(features, boxes).sum().backward()
    used = assign_boxes_to_levels(boxes, 2, 5, 224, 4).unique().tolist()
    for level, feature in enumerate(features):
        assert (feature.grad != 0).any() == (level in used)


def test_large_and_long_output():
    boxes, feature = torch.tensor([[8.0, 8, 100, 60]]), torch.rand(1, 2, 16, 16)
    pooled = pooler((8,), size=(3, 5))([feature], [Boxes(boxes)])
    expected = roi_align(feature, [boxes], (3, 5), 1 / 8, sampling_ratio=2, aligned=True)
    torch.testing.assert_close(pooled, expected)


@pytest.mark.skipif(HOST != "embedded", reason="the embedded host's own words")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pooler_type": "ROIAlignRotated"}, "POOLER_TYPE='ROIAlignRotated'.*genuine Detectron2"),
        ({"strides": (8, 32)}, "each twice the one before"),
        ({"strides": (6, 12)}, "powers of 2"),
        ({"strides": ()}, "powers of 2"),
        ({"size": (7, 7, 7)}, "output_size"),
        ({"canonical_box_size": 0}, "canonical_box_size"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        pooler(**arguments)


@pytest.mark.skipif(HOST != "embedded", reason="the embedded host's own words")
def test_counts(pyramid):
    features, boxes = pyramid
    with pytest.raises(ValueError, match="4 scales and got 3"):
        pooler()(features[:3], boxes)
    with pytest.raises(ValueError, match="boxes of 1 images and 2 images"):
        pooler()(features, boxes[:1])
