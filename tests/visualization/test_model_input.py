"""Pictures of a model's input have its pixels, in RGB, and its boxes."""

import numpy as np
import pytest
import torch

from dyhead.d2.structures import Boxes, Instances
from dyhead.visualization.colors import class_colors
from dyhead.visualization.model_input import draw_model_input


def model_input(channels: int = 3) -> dict:
    image = torch.zeros(channels, 400, 400, dtype=torch.uint8)
    image[0] = 200
    instances = Instances((400, 400))
    instances.gt_boxes = Boxes(torch.tensor([[100.0, 120.0, 300.0, 320.0]]))
    instances.gt_classes = torch.tensor([1])
    return {"image": image, "instances": instances}


@pytest.mark.parametrize(("order", "color"), [("RGB", (200, 0, 0)), ("BGR", (0, 0, 200))])
def test_channels_are_shown_in_their_order(order: str, color: tuple[int, int, int]) -> None:
    picture = draw_model_input(model_input(), order, ("cat", "dog"))
    assert picture.getpixel((200, 200)) == color


def test_a_grey_image_is_shown_grey() -> None:
    picture = draw_model_input(model_input(channels=1), "L", ("cat", "dog"))
    assert picture.getpixel((200, 200)) == (200, 200, 200)


def test_boxes_are_framed_in_the_colour_of_their_class() -> None:
    drawn = np.asarray(draw_model_input(model_input(), "RGB", ("cat", "dog")))
    rows, columns = np.nonzero((drawn == class_colors(2)[1]).all(2))
    assert (columns.min(), columns.max()) == (100, 299)
    assert rows.max() == 319


def test_a_class_without_a_name_is_no_error() -> None:
    assert draw_model_input(model_input(), "RGB", ()).size == (400, 400)


def test_an_input_without_instances_is_the_picture() -> None:
    given = model_input()
    del given["instances"]
    assert draw_model_input(given, "RGB", ()).getcolors() == [(160000, (200, 0, 0))]
