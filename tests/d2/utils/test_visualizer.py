"""Boxes and labels are drawn where they belong, in the picture's size (both hosts)."""

import numpy as np
import pytest
import torch
from embedded_host.utils import visualizer as embedded
from PIL import Image

from dyhead.d2.structures import Boxes, BoxMode, Instances
from dyhead.d2.utils.visualizer import ColorMode, VisImage, Visualizer
from dyhead.visualization.boxes import DrawnBox, draw_boxes
from dyhead.visualization.colors import class_colors

HEIGHT, WIDTH = 90, 120
BOX = [30.0, 20.0, 100.0, 80.0]


class Classes:
    """As much of a data set's metadata as is drawn."""

    thing_classes = ["cat", "dog"]
    thing_colors = [(255, 0, 0), (0, 255, 0)]

    def get(self, key, default=None):
        return getattr(self, key, default)


@pytest.fixture
def image():
    return np.full((HEIGHT, WIDTH, 3), 128, dtype=np.uint8)


def changed(picture, image):
    return (picture.astype(int) != image).any(axis=2)


@pytest.mark.parametrize("scale", [1.0, 2.0, 0.5])
def test_the_picture_has_the_scaled_size(image, scale):
    picture = Visualizer(image, scale=scale).get_output().get_image()
    assert picture.shape == (HEIGHT * scale, WIDTH * scale, 3)
    assert picture.dtype == np.uint8
    assert not changed(picture, 128).any()


def test_any_number_type_of_image_is_taken():
    image = np.random.default_rng(0).random((50, 70, 3)) * 300
    picture = Visualizer(image).get_output().get_image()
    assert np.abs(picture - np.clip(image, 0, 255).astype(np.uint8).astype(int)).max() <= 1


def test_a_box_is_drawn_on_its_edges_only(image):
    visualizer = Visualizer(image)
    visualizer.draw_box(BOX, alpha=1.0, edge_color="r")
    picture = visualizer.get_output().get_image()
    assert changed(picture, image)[50, 29:32].any() and changed(picture, image)[50, 99:102].any()
    assert changed(picture, image)[19:22, 60].any() and changed(picture, image)[79:82, 60].any()
    assert not changed(picture, image)[40:60, 45:85].any()
    edge = picture[50, 30].astype(int)
    assert edge[0] > edge[1] + 60, "the edge is red"


def test_text_is_drawn_at_its_position(image):
    visualizer = Visualizer(image)
    output = visualizer.draw_text("dog", (60, 40), font_size=10)
    drawn = changed(output.get_image(), image)
    assert drawn[40:55, 50:70].any()
    assert not drawn[:35].any() and not drawn[65:].any()


def test_predictions_with_all_or_some_fields(image):
    whole = Instances(
        (HEIGHT, WIDTH),
        pred_boxes=Boxes(torch.tensor([BOX, [1.0, 2.0, 9.0, 9.0]])),
        pred_classes=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.4]),
    )
    boxes_only = Instances((HEIGHT, WIDTH), pred_boxes=Boxes(torch.tensor([BOX])))
    cases = [(whole, mode) for mode in ColorMode] + [(boxes_only, ColorMode.IMAGE)]
    for instances, mode in cases:
        visualizer = Visualizer(image, Classes(), instance_mode=mode)
        picture = visualizer.draw_instance_predictions(instances).get_image()
        assert changed(picture, image).any()
    assert not changed(
        Visualizer(image, Classes()).draw_instance_predictions(whole[:0]).get_image(), image
    ).any()


def test_class_colours_without_jitter(image):
    instances = Instances(
        (HEIGHT, WIDTH), pred_boxes=Boxes(torch.tensor([BOX])), pred_classes=torch.tensor([1])
    )
    visualizer = Visualizer(image, Classes(), instance_mode=ColorMode.SEGMENTATION)
    output = visualizer.draw_instance_predictions(instances, jittering=False)
    red, green, blue = output.get_image()[50, 30].astype(int)
    assert green > red + 30 and green > blue + 30


def test_black_and_white_mode_draws_on_grey():
    image = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3))
    visualizer = Visualizer(image, instance_mode=ColorMode.IMAGE_BW)
    nothing = Instances((HEIGHT, WIDTH), pred_boxes=Boxes(torch.zeros(0, 4)))
    picture = visualizer.draw_instance_predictions(nothing).get_image()
    assert (picture == picture[..., :1]).all()


def test_a_dataset_dict_in_either_box_mode_looks_the_same(image):
    pictures = []
    for mode in (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS):
        bbox = BoxMode.convert(BOX, BoxMode.XYXY_ABS, mode)
        record = {"annotations": [{"bbox": bbox, "bbox_mode": mode, "category_id": 1}]}
        visualizer = Visualizer(image, Classes())
        pictures.append(visualizer.draw_dataset_dict(record).get_image())
    drawn = [changed(picture, image) for picture in pictures]
    assert drawn[0].any() and (drawn[0] == drawn[1]).mean() > 0.98
    assert not changed(Visualizer(image).draw_dataset_dict({}).get_image(), image).any()


def test_boxes_of_any_kind_with_colours(image):
    pictures = [
        Visualizer(image).overlay_instances(boxes=boxes, labels=["one"], assigned_colors=["b"])
        for boxes in (Boxes(torch.tensor([BOX])), np.array([BOX]), [BOX])
    ]
    first, *others = [picture.get_image() for picture in pictures]
    assert changed(first, image).any()
    assert all((first == other).all() for other in others)


def test_labels_must_be_as_many_as_boxes(image):
    with pytest.raises(AssertionError):
        Visualizer(image).overlay_instances(boxes=[BOX], labels=["one", "two"])


def test_saved_as_it_looks(image, tmp_path):
    output = VisImage(image)
    output.save(str(tmp_path / "picture.png"))
    saved = np.asarray(Image.open(tmp_path / "picture.png").convert("RGB"))
    assert (saved == output.get_image()).all()


def test_the_embedded_host_draws_as_the_project_does(image):
    instances = Instances(
        (HEIGHT, WIDTH),
        pred_boxes=Boxes(torch.tensor([BOX])),
        pred_classes=torch.tensor([1]),
        scores=torch.tensor([0.5]),
    )
    visualizer = embedded.Visualizer(image, Classes(), scale=3.0, font_size_scale=1.5)
    picture = visualizer.draw_instance_predictions(instances).get_image()
    box = DrawnBox(tuple(BOX), class_colors(1)[0], "dog", 0.5)
    expected = draw_boxes(Image.fromarray(image), [box], zoom=3.0, font_scale=1.5)
    assert (picture == np.asarray(expected)).all()


def test_crowds_are_dashed_and_lines_may_be_transparent(image):
    record = {"bbox": BOX, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1, "iscrowd": 1}
    picture = embedded.Visualizer(image).draw_dataset_dict({"annotations": [record]}).get_image()
    edge = changed(picture, image)[20:80, 30]
    assert edge.any() and not edge.all()
    faint = embedded.Visualizer(image).draw_box(BOX, alpha=0.25, edge_color="w").get_image()
    assert faint[50, 30].tolist() == [128 + (255 - 128) // 4] * 3
