"""Boxes of mixed pictures are where their objects are, and too little of one is none."""

import numpy as np
import pytest
import torch
from planted_boxes import assert_boxes_are_where_colors_are, find, planted

from dyhead.data.augmentations.copy_paste import CopyPaste
from dyhead.data.augmentations.mixup import Mixup
from dyhead.data.augmentations.mosaic import Mosaic
from dyhead.data.augmentations.sample import Sample
from dyhead.data.seeding import seed_cpu_generators

LEAST = 0.3
BLACK = (0.0, 0.0, 0.0)
FOUR = [
    planted((60, 80), {0: (10, 8, 30, 40), 1: (50, 20, 76, 55)}),
    planted((90, 50), {2: (5, 10, 45, 50), 3: (12, 60, 30, 84)}),
    planted((40, 120), {4: (70, 6, 110, 36), 5: (8, 4, 40, 30)}),
    planted((64, 64), {6: (16, 16, 48, 40)}),
]


def drawing(*samples: Sample):
    remaining = iter(samples)
    return lambda: next(remaining)


@pytest.mark.parametrize("size", [(), (96, 72)])
@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.4, 1.5)])
def test_a_mosaics_boxes_are_where_its_objects_are(size, scales):
    mosaic = Mosaic(scales, size, BLACK, LEAST)
    kept = 0
    for seed in range(60):
        seed_cpu_generators(seed)
        mixed = mosaic(FOUR[0], drawing(*FOUR[1:]))
        assert mixed.size == (size or FOUR[0].size)
        assert_boxes_are_where_colors_are(mixed)
        kept += len(mixed.boxes)
    assert kept > 120  # of 7 a mosaic


def test_every_picture_comes_to_every_corner_of_mosaics():
    values = (10, 20, 30, 40)
    four = [
        Sample(torch.full((3, 40, 40), value, dtype=torch.uint8), *_no_objects())
        for value in values
    ]
    seen = set()
    for seed in range(40):
        seed_cpu_generators(seed)
        image = Mosaic((1.0, 1.0), (), BLACK, LEAST)(four[0], drawing(*four[1:])).image[0]
        seen |= set(enumerate(image[::39, ::39].flatten().tolist()))
    assert seen == {(corner, value) for corner in range(4) for value in values}


def test_a_mosaic_keeps_the_boxes_of_which_a_share_shows_and_no_others():
    mosaic = Mosaic((1.0, 1.0), (), BLACK, LEAST)
    dropped = 0
    for seed in range(60):
        seed_cpu_generators(seed)
        mixed = mosaic(FOUR[0], drawing(*FOUR[1:]))
        for sample in FOUR:
            for box, index in zip(sample.boxes, sample.classes.tolist(), strict=True):
                found = find(mixed.image, index)
                area = float((box[2] - box[0]) * (box[3] - box[1]))
                is_kept = index in mixed.classes.tolist()
                assert is_kept == (found is not None and found.pixels >= LEAST * area)
                dropped += not is_kept
    assert dropped > 60


def test_a_picture_of_a_few_pixels_is_resized_to_one_and_put_into_mosaics():
    tiny = Sample(torch.full((3, 2, 2), 70, dtype=torch.uint8), *_no_objects())
    one = tiny.resized(0.5).image
    assert one.dtype == torch.uint8 and one.tolist() == [[[70]]] * 3
    mixed = Mosaic((0.4, 0.6), (), BLACK, LEAST)(tiny, drawing(tiny, tiny, tiny))
    assert mixed.size == (2, 2) and set(mixed.image.unique().tolist()) <= {0, 70}


def test_what_a_mosaic_does_not_cover_is_filled_away_from_its_centre():
    white = Sample(torch.full((3, 40, 40), 255, dtype=torch.uint8), *_no_objects())
    mixed = Mosaic((0.1, 0.1), (), (7.4, 8.0, 9.0), LEAST)(white, drawing(*[white] * 3))
    is_white = (mixed.image == 255).all(dim=0)
    assert int(is_white.sum()) == 4 * 4 * 4  # four pictures of 4 x 4
    rows, columns = (is_white.any(dim=axis).nonzero().flatten() for axis in (1, 0))
    for lines in (rows, columns):  # around one point
        assert lines.tolist() == list(range(int(lines[0]), int(lines[0]) + 8))
    assert mixed.image[:, ~is_white].unique(dim=1).flatten().tolist() == [7, 8, 9]


@pytest.mark.parametrize("scale", [0.13, 0.5, 0.77, 1.9])
def test_a_box_of_the_whole_picture_is_one_at_any_scale(scale):
    resized = planted((7, 33), {0: (0, 0, 33, 7)}).resized(scale)
    height, width = resized.size
    np.testing.assert_allclose(resized.boxes, [[0, 0, width, height]], rtol=1e-6)
    assert abs(height - 7 * scale) <= 0.5 and abs(width - 33 * scale) <= 0.5


def _no_objects():
    return torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)


@pytest.mark.parametrize("size", [(60, 80), (150, 40), (30, 200)])
def test_mixup_keeps_the_objects_of_both_where_they_are(size):
    red = planted((60, 80), {0: (10, 8, 30, 40)})
    height, width = size
    green = planted(size, {1: (width // 4, height // 4, width // 2, height // 2)})
    seen = 0
    for seed in range(30):
        seed_cpu_generators(seed)
        mixed = Mixup(8.0, LEAST)(red, drawing(green))
        assert mixed.size == red.size
        assert mixed.classes[0] == 0 and mixed.boxes[0].tolist() == red.boxes[0].tolist()
        for box, index in zip(mixed.boxes.tolist(), mixed.classes.tolist(), strict=True):
            single = torch.zeros_like(mixed.image)  # the object's own channel alone
            single[index] = mixed.image[index]
            found = find(single, index, threshold=20)
            assert found is not None and list(found.box) == box
        seen += len(mixed.boxes)
    assert seen > 50


def test_mixup_blends_by_one_share_and_leaves_the_rest_as_it_is():
    light = Sample(torch.full((1, 20, 30), 200, dtype=torch.uint8), *_no_objects())
    dark = Sample(torch.zeros((1, 10, 30), dtype=torch.uint8), *_no_objects())
    shares = []
    for seed in range(200):
        seed_cpu_generators(seed)
        mixed = Mixup(4.0, LEAST)(light, drawing(dark)).image
        blended = mixed[mixed != 200]
        assert len(blended) == 10 * 30 and len(blended.unique()) == 1
        shares.append(1 - int(blended[0]) / 200)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.04)
    assert np.var(shares) == pytest.approx(1 / (4 * 9), rel=0.35)  # of the beta distribution
    assert (light.image == 200).all()  # the picture itself stays


@pytest.mark.parametrize("least", [LEAST, 0.9])
def test_pasted_boxes_and_those_below_are_where_their_objects_are(least):
    picture = planted((70, 90), {0: (5, 5, 30, 30), 1: (55, 10, 85, 40), 2: (20, 45, 60, 65)})
    donor = planted((60, 80), {3: (10, 8, 40, 25), 4: (50, 20, 76, 44), 5: (6, 40, 20, 58)})
    pasted, shrunk, dropped = 0, 0, 0
    for seed in range(80):
        seed_cpu_generators(seed)
        mixed = CopyPaste(3, least)(picture, drawing(donor))
        assert_boxes_are_where_colors_are(mixed, tolerance=0)
        kept = dict(zip(mixed.classes.tolist(), mixed.boxes.tolist(), strict=True))
        pasted += len(kept.keys() - {0, 1, 2})
        for index, box in enumerate(picture.boxes.tolist()):
            found, area = find(mixed.image, index), (box[2] - box[0]) * (box[3] - box[1])
            assert (index in kept) == (found is not None and found.pixels >= least * area)
            shrunk += kept.get(index, box) != box
            dropped += index not in kept
    assert pasted > 100 and shrunk + dropped > 10 and (dropped > 10) == (least == 0.9)


def test_no_object_hides_more_than_its_part_of_a_box_when_pasted_alone():
    full = planted((40, 40), {0: (0, 0, 20, 40), 1: (20, 0, 40, 40)})
    donor = planted((40, 40), {3: (0, 0, 30, 36)})
    for seed in range(40):  # it would hide more than 0.3 of one of them anywhere
        seed_cpu_generators(seed)
        mixed = CopyPaste(1, LEAST)(full, drawing(donor))
        assert mixed.classes.tolist() == [0, 1]
    assert torch.equal(mixed.image, full.image)


def test_what_lies_in_a_pasted_box_comes_with_its_own_box():
    donor = planted((60, 60), {3: (0, 0, 40, 40), 4: (10, 10, 30, 30)})
    empty = Sample(torch.zeros(3, 120, 120, dtype=torch.uint8), *_no_objects())
    for seed in range(20):
        seed_cpu_generators(seed)
        mixed = CopyPaste(1, LEAST)(empty, drawing(donor))
        for index in mixed.classes.tolist():
            box = mixed.boxes[mixed.classes.tolist().index(index)]
            if index == 4:
                np.testing.assert_array_equal(box, find(mixed.image, 4).box)
        assert 4 in mixed.classes


@pytest.mark.parametrize(
    "mix", [Mosaic((0.5, 1.0), (), BLACK, LEAST), Mixup(8.0, LEAST), CopyPaste(3, LEAST)]
)
def test_pictures_without_objects_are_mixed_too(mix):
    empty = Sample(torch.zeros(3, 50, 60, dtype=torch.uint8), *_no_objects())
    mixed = mix(empty, drawing(*[empty] * 3))
    assert mixed.size == (50, 60) and mixed.boxes.shape == (0, 4) and len(mixed.classes) == 0
    again = mix(empty, drawing(*FOUR[1:]))
    assert set(again.classes.tolist()) <= {2, 3, 4, 5, 6}


@pytest.mark.parametrize(
    "mix", [Mosaic((0.5, 1.0), (), BLACK, LEAST), Mixup(8.0, LEAST), CopyPaste(3, LEAST)]
)
def test_the_pictures_that_are_mixed_stay_as_they_are(mix):
    before = [sample.image.clone() for sample in FOUR]
    mix(FOUR[0], drawing(*FOUR[1:]))
    assert all(torch.equal(b, sample.image) for b, sample in zip(before, FOUR, strict=True))
