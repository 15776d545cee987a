"""Boxes stay of which enough is left, and at least a pixel of each side."""

import torch

from dyhead.data.augmentations.visibility import is_visible, visible_shares

REGION = (0.0, 0.0, 10.0, 10.0)


def test_shares_are_those_of_the_area_in_the_region():
    rows = [[2.0, 2, 6, 6], [8, 8, 12, 12], [-4, 0, 4, 4], [20, 0, 24, 4], [3, 3, 3, 7]]
    assert visible_shares(torch.tensor(rows), REGION).tolist() == [1, 0.25, 0.5, 0, 0]


def test_a_box_needs_its_share_and_a_pixel_of_each_side():
    boxes = torch.tensor([[0.0, 0, 5, 1], [0, 0, 0.9, 5], [0, 0, 5, 0.9]])
    shares = torch.ones(3)
    assert is_visible(boxes, shares, 0.0).tolist() == [True, False, False]
    assert is_visible(boxes, shares * 0.3, 0.3).tolist() == [True, False, False]
    assert not is_visible(boxes, shares * 0.29, 0.3).any()
    assert not is_visible(boxes, shares * 0, 0.0).any()
