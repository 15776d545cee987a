"""Detections tell the same in every form, and draw themselves where they are."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dyhead.errors import UserError
from dyhead.prediction import Detections, Detector
from dyhead.visualization.colors import class_colors


@pytest.fixture
def found(detector: Detector, scene: np.ndarray) -> Detections:
    return detector(scene, channels="RGB")


def test_the_most_certain_comes_first(found: Detections) -> None:
    assert len(found) == 2
    np.testing.assert_array_equal(found.boxes, [[10, 5, 40, 25], [50, 30, 90, 55]])
    assert found.scores.tolist() == pytest.approx([0.9, 0.6])
    assert found.class_ids.tolist() == [1, 0] and found.names == ["red", "blue"]
    assert found.image_size == (60, 100) and found.file_name is None
    assert (found.boxes.dtype, found.scores.dtype) == (np.float32, np.float32)


def test_parts_are_detections_too(found: Detections) -> None:
    assert found[found.scores > 0.7].names == ["red"]
    assert found[1].names == ["blue"] and found[-1].names == ["blue"]
    assert found[np.argmin(found.scores)].names == ["blue"]
    assert found[:0].names == [] and len(found[[1, 0]]) == 2
    assert found.select(0.7).names == ["red"]
    assert found.select(float(found.scores[1])).names == ["red", "blue"]
    assert found.select(classes=["blue"]).names == ["blue"]
    assert found.select(0.7, ["blue"]).names == []
    with pytest.raises(UserError, match="no class 'green': choose one of blue, red"):
        found.select(classes=["green"])


def test_they_describe_themselves(found: Detections) -> None:
    assert repr(found) == "<Detections: 1 red, 1 blue (100 x 60)>"
    assert "nothing" in repr(found[:0])


def test_coco_has_the_ids_of_the_data_set(found: Detections) -> None:
    assert found.to_coco(12) == [
        {"image_id": 12, "category_id": 7, "bbox": [10, 5, 30, 20], "score": pytest.approx(0.9)},
        {"image_id": 12, "category_id": 3, "bbox": [50, 30, 40, 25], "score": pytest.approx(0.6)},
    ]


def test_plain_values_say_all(found: Detections) -> None:
    plain = found.to_dict()
    assert (plain["file_name"], plain["height"], plain["width"]) == (None, 60, 100)
    assert plain["detections"][1] == {
        "box": [50, 30, 90, 55],
        "score": pytest.approx(0.6),
        "class_id": 0,
        "category_id": 3,
        "name": "blue",
    }


def test_without_names_and_ids_the_indices_stand_for_them() -> None:
    some = Detections(
        np.array([[0, 0, 4, 4]], dtype=np.float32),
        np.array([0.5], dtype=np.float32),
        np.array([5]),
        class_names=(),
        category_ids=(),
        image_size=(8, 8),
    )
    assert some.names == ["class 5"] and some.to_coco(1)[0]["category_id"] == 5
    assert some.plot(Image.new("RGB", (8, 8))).size == (320, 320)
    with pytest.raises(UserError, match="hold no picture"):
        some.plot()
    with pytest.raises(UserError, match="no class 'red': choose none"):
        some.select(classes=["red"])


def test_instances_are_the_hosts(found: Detections) -> None:
    instances = found.instances
    assert instances.image_size == (60, 100)
    np.testing.assert_array_equal(instances.pred_boxes.tensor.numpy(), found.boxes)
    assert instances.pred_classes.tolist() == [1, 0]
    instances.scores.zero_()
    assert found.scores[0] > 0, "they have memory of their own"


def test_supervision_gets_the_same(found: Detections) -> None:
    supervision = pytest.importorskip("supervision")
    converted = found.to_supervision()
    assert isinstance(converted, supervision.Detections)
    np.testing.assert_array_equal(converted.xyxy, found.boxes)
    np.testing.assert_array_equal(converted.confidence, found.scores)
    assert converted.class_id.tolist() == [1, 0]
    assert converted["class_name"].tolist() == ["red", "blue"]
    assert len(found[:0].to_supervision()) == 0


def test_missing_supervision_is_named(found: Detections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match="pip install supervision"):
        found.to_supervision()


@pytest.mark.parametrize("scale", [1, 3])
def test_boxes_are_drawn_where_they_are_in_the_colour_of_their_class(
    found: Detections, scale: int
) -> None:
    picture = np.asarray(found.plot(scale=scale))
    assert picture.shape == (60 * scale, 100 * scale, 3)
    for index, box in zip(found.class_ids, found.boxes, strict=True):
        left, _, right, bottom = (round(float(value) * scale) for value in box)
        below = picture[bottom - 1, left:right]  # labels lie elsewhere
        share = (below == class_colors(2)[index]).all(axis=1).mean()
        assert share > 0.9
    assert found.plot().size == (400, 240), "small pictures are enlarged to be read"


@pytest.mark.parametrize("scale", [0, -1.0, float("nan")])
def test_a_drawing_without_a_size_is_refused(found: Detections, scale: float) -> None:
    with pytest.raises(UserError, match=r"^scale is .*: give a number above 0"):
        found.plot(scale=scale)


def test_one_class_is_named_in_a_list(found: Detections) -> None:
    with pytest.raises(UserError, match=r"a list of names: give \['red'\]"):
        found.select(classes="red")


def test_a_picture_is_drawn_upright(detector: Detector, scene: np.ndarray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    path = tmp_path / "turned.png"
    Image.fromarray(np.ascontiguousarray(np.rot90(scene))).save(path, exif=exif)
    found = detector(path)
    np.testing.assert_array_equal(found.boxes, [[10, 5, 40, 25], [50, 30, 90, 55]])
    drawn = np.asarray(found.plot(scale=1))
    assert drawn.shape == (60, 100, 3)
    assert (drawn[45, 70] == (0, 0, 255)).all(), "the blue rectangle is where it is shown"


def test_drawings_are_saved_but_never_over_the_picture(
    detector: Detector, scene: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(scene).save(path)
    before = path.read_bytes()
    found = detector(path)
    for name in ("new/drawn.jpg", "drawn.PNG", "drawn.webp", "drawn.tif"):
        assert Image.open(found.save(tmp_path / name)).size == (400, 240)
    with pytest.raises(UserError, match="is the picture itself"):
        found.save(tmp_path / "new" / ".." / "a.png")
    assert path.read_bytes() == before
    with pytest.raises(UserError, match="no picture format ends in '.txt'"):
        found.save(tmp_path / "a.txt")
    with pytest.raises(UserError, match="pictures? has|image has 10 x 10"):
        found.plot(Image.new("RGB", (10, 10)))
    path.unlink()
    with pytest.raises(UserError, match="a.png does not exist"):
        found.plot()
