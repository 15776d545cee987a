"""An evaluation's measures keep the detections that its thresholds say."""

from dyhead.run_report.evaluation import measure

TRUTH = {
    "images": [{"id": 1, "file_name": "a.png", "width": 99, "height": 99}],
    "categories": [{"id": 1, "name": "ant"}, {"id": 2, "name": "bee"}],
    "annotations": [
        {
            **{"id": 1, "image_id": 1, "category_id": 1},
            **{"bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0},
        }
    ],
}


def test_a_class_without_objects_keeps_no_detection_however_certain() -> None:
    found = [
        {"image_id": 1, "category_id": 2, "bbox": [50, 50, 9, 9], "score": 1.0},
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.8},
    ]
    measured = measure(TRUTH, found)
    assert measured.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert measured.pictures[0].num_false == 0
    assert [point.threshold for point in measured.points] == [0.8, 1.0]  # as they are shown
