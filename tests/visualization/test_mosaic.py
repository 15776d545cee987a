"""Ground truth and predictions stand side by side, in the same colours."""

import json

import numpy as np
import pytest
from PIL import Image

from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.d2.structures import BoxMode
from dyhead.visualization.colors import class_colors
from dyhead.visualization.mosaic import PAGE_WIDTH, _spread, draw_mosaic

WIDTH, HEIGHT = 80, 60


@pytest.fixture
def dataset(tmp_path):
    """Five grey images, each with one object of class 1 (category id 9)."""
    records = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (WIDTH, HEIGHT), (128, 128, 128)).save(path)
        box = {"bbox": [10, 15, 50, 40], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}
        records.append(
            {
                "file_name": str(path),
                "image_id": number,
                "height": HEIGHT,
                "width": WIDTH,
                "annotations": [box],
            }
        )
    DatasetCatalog.register("mosaic_test", lambda: records)
    MetadataCatalog.get("mosaic_test").set(
        thing_classes=["cat", "dog"], thing_dataset_id_to_contiguous_id={4: 0, 9: 1}
    )
    yield "mosaic_test"
    DatasetCatalog.pop("mosaic_test")
    MetadataCatalog.pop("mosaic_test")


def predict(path, predictions):
    path.write_text(json.dumps(predictions))
    return path


def prediction(image_id, score, category_id=9):
    box = [10, 15, 50, 40]
    return {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}


def near(picture, color):
    return np.abs(picture.astype(int) - np.array(color)).max(axis=2) < 12


def test_one_pair_per_image_with_equal_colours_on_both_sides(dataset, tmp_path):
    predictions = predict(tmp_path / "p.json", [prediction(i, 0.9) for i in range(5)])
    output = draw_mosaic(dataset, predictions, tmp_path / "new" / "mosaic.png", num_images=1)
    picture = np.asarray(Image.open(output))
    assert picture.shape[1] == PAGE_WIDTH
    tiles = near(picture[100:], class_colors(2)[1])
    columns = np.nonzero(tiles.sum(axis=0) > 100)[0]  # the boxes' vertical edges
    truth, found = columns[columns < 398], columns[columns >= 398]
    assert len(truth) and len(truth) == len(found)
    assert len(set(found - truth)) == 1, "the same box at the same place on both sides"


@pytest.mark.parametrize(("wanted", "rows"), [(1, 1), (2, 1), (3, 2), (5, 3), (50, 3)])
def test_the_page_grows_by_rows_of_two_pairs(dataset, tmp_path, wanted, rows):
    predictions = predict(tmp_path / "p.json", [])
    output = draw_mosaic(dataset, predictions, tmp_path / "m.png", num_images=wanted)
    heights = 26 + round(386 * HEIGHT / WIDTH) + 16
    assert Image.open(output).height == pytest.approx(90 + rows * heights, abs=10 * rows)


def test_predictions_below_the_threshold_are_left_out(dataset, tmp_path):
    def colored(scores, threshold):
        predictions = [prediction(0, score, category_id=4) for score in scores]
        path = predict(tmp_path / "p.json", predictions)
        draw_mosaic(dataset, path, tmp_path / "m.png", 1, score_threshold=threshold)
        return near(np.asarray(Image.open(tmp_path / "m.png"))[100:], class_colors(2)[0]).sum()

    assert colored([0.4], 0.5) == 0
    assert colored([0.5], 0.5) > 100


def test_predictions_of_another_data_set_are_refused(dataset, tmp_path):
    for wrong, what in (
        (prediction(77, 0.9), "image 77"),
        (prediction(0, 0.9, category_id=5), "category 5"),
    ):
        with pytest.raises(ValueError, match=f"has detections of {what}, which the data set does"):
            draw_mosaic(dataset, predict(tmp_path / "p.json", [wrong]), tmp_path / "m.png")
    with pytest.raises(ValueError, match="missing.json can't be read"):
        draw_mosaic(dataset, tmp_path / "missing.json", tmp_path / "m.png")


def test_crowded_and_tall_images_fit(dataset, tmp_path):
    record = DatasetCatalog.get(dataset)[0]
    Image.new("L", (30, 300), 128).save(record["file_name"])
    record["annotations"] *= 40
    predictions = predict(tmp_path / "p.json", [])
    output = draw_mosaic(dataset, predictions, tmp_path / "m.png", num_images=1)
    assert Image.open(output).height < 500


def test_images_are_spread_over_the_data_set():
    assert _spread(100, 4) == [0, 25, 50, 75]
    assert _spread(3, 16) == [0, 1, 2]
