import pytest
import torch
from torch.nn import functional as F

from dyhead.d2 import HOST
from dyhead.d2.layers import ROIAlign, cross_entropy


def bilinear(image, y, x):
    """Sample an image at positions whose centres lie on whole numbers, clamped to the border."""
    height, width = image.shape
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = image[top, left] * (1 - dx) + image[top, right] * dx
    return upper * (1 - dy) + (image[bottom, left] * (1 - dx) + image[bottom, right] * dx) * dy


def pooled_by_hand(image, box, size, scale, ratio, aligned):
    """Mean of ratio x ratio samples in each cell of one box."""
    offset = 0.5 if aligned else 0.0
    x0, y0, x1, y1 = (float(c) * scale - offset for c in box)
    cell_h, cell_w = (y1 - y0) / size, (x1 - x0) / size
    result = torch.zeros(size, size)
    for i in range(size):
        for j in range(size):
            for a in range(ratio):
                for b in range(ratio):
                    y = y0 + (i + (a + 0.5) / ratio) * cell_h
                    x = x0 + (j + (b + 0.5) / ratio) * cell_w
                    result[i, j] += bilinear(image, y, x) / ratio**2
    return result


@pytest.mark.parametrize("aligned", [False, True])
def test_against_loops(aligned):
    torch.manual_seed(0)
    features = torch.randn(2, 1, 9, 11)
    rois = torch.tensor([[1.0, 4, 6, 30, 28], [0, 10, 2, 21, 33], [1, 0, 0, 44, 36]])
    pooled = ROIAlign((3, 3), 0.25, 2, aligned=aligned)(features, rois)
    for roi, actual in zip(rois, pooled, strict=True):
        image = features[int(roi[0]), 0]
        expected = pooled_by_hand(image, roi[1:], 3, 0.25, 2, aligned)
        torch.testing.assert_close(actual[0], expected)


def test_alignment_is_the_default():
    features, rois = torch.rand(1, 2, 8, 8), torch.tensor([[0.0, 3, 3, 20, 20]])
    default, aligned = ROIAlign(2, 0.25, 2), ROIAlign(2, 0.25, 2, aligned=True)
    assert torch.equal(default(features, rois), aligned(features, rois))
    assert "aligned=True" in repr(default)


def test_no_regions():
    assert ROIAlign((4, 5), 0.25, 0)(torch.rand(1, 2, 8, 8), torch.zeros(0, 5)).shape == (
        0,
        2,
        4,
        5,
    )


@pytest.mark.skipif(HOST != "embedded", reason="the embedded host's own words")
def test_regions_need_their_image():
    with pytest.raises(ValueError, match=r"\(R, 5\).*\(3, 4\)"):
        ROIAlign(2, 0.25, 2)(torch.rand(1, 2, 8, 8), torch.zeros(3, 4))


def test_cross_entropy_of_nothing_is_zero_and_has_a_gradient():
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss == 0 and logits.grad is not None


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_otherwise(reduction):
    logits, targets = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    expected = F.cross_entropy(logits, targets, reduction=reduction, label_smoothing=0.1)
    actual = cross_entropy(logits, targets, reduction=reduction, label_smoothing=0.1)
    torch.testing.assert_close(actual, expected)
