"""Labels lie within the picture, on no other label and on no small object."""

import itertools

import numpy as np
import pytest

from dyhead.visualization.label_places import Rectangle, place_labels

SIZE = (60, 14)
PICTURE = (640, 480)


def common(first, second):
    width = min(first.right, second.right) - max(first.left, second.left)
    height = min(first.bottom, second.bottom) - max(first.top, second.top)
    return max(width, 0) * max(height, 0)


def random_boxes(count, picture=PICTURE):
    rng = np.random.default_rng(0)
    for _ in range(count):
        x, y = rng.integers(0, picture[0] - 10), rng.integers(0, picture[1] - 10)
        width, height = rng.integers(5, 200, 2)
        yield Rectangle(
            int(x), int(y), int(min(x + width, picture[0])), int(min(y + height, picture[1]))
        )


def test_a_single_label_lies_above_its_box():
    box = Rectangle(100, 100, 200, 200)
    assert place_labels([box], [SIZE], PICTURE) == [Rectangle(100, 86, 160, 100)]


def test_labels_stay_within_the_picture():
    corners = [
        Rectangle(0, 0, 30, 30),
        Rectangle(610, 0, 640, 30),
        Rectangle(0, 450, 30, 480),
        Rectangle(610, 450, 640, 480),
        Rectangle(0, 0, 640, 480),
    ]
    places = place_labels(corners, [SIZE] * 5, PICTURE)
    for place in places:
        assert place.left >= 0 and place.top >= 0
        assert place.right <= 640 and place.bottom <= 480
        assert (place.right - place.left, place.bottom - place.top) == SIZE


def test_labels_never_lie_on_each_other():
    boxes = list(random_boxes(100))
    places = [p for p in place_labels(boxes, [SIZE] * 100, PICTURE) if p is not None]
    assert len(places) > 20
    assert not any(common(a, b) for a, b in itertools.combinations(places, 2))


def test_the_first_boxes_are_served_first_and_labels_hide_an_eighth_at_most():
    boxes = list(random_boxes(100))
    places = place_labels(boxes, [SIZE] * 100, PICTURE)
    assert None not in places[:5] and None in places
    covered = sum(SIZE[0] * SIZE[1] for place in places if place is not None)
    assert covered <= 640 * 480 / 8


def test_a_label_leaves_a_small_object_visible_where_there_is_room_elsewhere():
    large, small = Rectangle(100, 100, 300, 300), Rectangle(105, 88, 125, 98)
    (place, _) = place_labels([large, small], [SIZE, None], PICTURE)
    assert common(place, small) == 0
    assert common(Rectangle(100, 86, 160, 100), small) > 0, "its usual place would hide it"


@pytest.mark.parametrize("size", [(30, 12), SIZE, (90, 20)])
def test_labels_hide_nothing_small_and_a_quarter_of_the_others_at_most(size):
    boxes = list(random_boxes(20))
    places = [p for p in place_labels(boxes, [size] * 20, PICTURE) if p is not None]
    assert places
    for place, box in itertools.product(places, boxes):
        area = (box.right - box.left) * (box.bottom - box.top)
        hidden = common(place, box)
        assert hidden <= area / 4
        assert not hidden or area >= 4 * size[0] * size[1]


def test_without_room_there_is_no_label():
    box = Rectangle(0, 0, 40, 40)
    assert place_labels([box], [SIZE], (40, 40)) == [None]
    same = [Rectangle(0, 0, 62, 16)] * 2
    assert place_labels(same, [SIZE] * 2, (62, 16))[1] is None
    assert place_labels([box], [None], PICTURE) == [None]
    assert place_labels([], [], PICTURE) == []
