"""The dicts of data sets that are joined and filtered, and their histogram."""

import logging

import pytest

from dyhead.d2 import HOST
from dyhead.d2.data import (
    DatasetCatalog,
    DatasetFromList,
    MetadataCatalog,
    get_detection_dataset_dicts,
    print_instances_class_histogram,
)

embedded_only = pytest.mark.skipif(HOST != "embedded", reason="of the embedded host only")


def test_images_without_usable_annotations_are_left_out_of_training(coco):
    records = get_detection_dataset_dicts("tiny")
    assert [record["image_id"] for record in records] == [10, 30, 50]
    records = get_detection_dataset_dicts(["tiny"], filter_empty=False)
    assert [record["image_id"] for record in records] == [10, 20, 30, 40, 50]


def test_datasets_are_joined_in_their_order(coco):
    DatasetCatalog.register("more", lambda: [{"image_id": 1, "annotations": [{"category_id": 0}]}])
    MetadataCatalog.get("more").thing_classes = ["cat", "dog", "bird"]
    records = get_detection_dataset_dicts(["tiny", "more"])
    assert [record["image_id"] for record in records] == [10, 30, 50, 1]


def test_joined_datasets_need_the_same_classes(coco):
    DatasetCatalog.register("more", lambda: [{"image_id": 1, "annotations": [{"category_id": 0}]}])
    MetadataCatalog.get("more").thing_classes = ["fish"]
    with pytest.raises(ValueError, match="thing_classes"):
        get_detection_dataset_dicts(["tiny", "more"])
    assert len(get_detection_dataset_dicts(["tiny", "more"], check_consistency=False)) == 4


def test_classes_without_names_are_no_error(unregister):
    DatasetCatalog.register("unnamed", lambda: [{"annotations": [{"category_id": 3}]}])
    assert len(get_detection_dataset_dicts("unnamed")) == 1


def test_an_unknown_dataset_is_named():
    with pytest.raises(KeyError, match="nowhere"):
        get_detection_dataset_dicts("nowhere")


def test_empty_datasets_are_refused(unregister):
    DatasetCatalog.register("empty", list)
    DatasetCatalog.register("crowded", lambda: [{"annotations": []}])
    for name in ("empty", "crowded"):
        with pytest.raises(AssertionError, match=name):
            get_detection_dataset_dicts(name)
    with pytest.raises(AssertionError):
        get_detection_dataset_dicts([])


def test_a_registered_torch_dataset_is_passed_on(unregister):
    dataset = DatasetFromList([1, 2])
    DatasetCatalog.register("torch", lambda: dataset)
    assert get_detection_dataset_dicts("torch") is dataset
    assert len(get_detection_dataset_dicts(["torch", "torch"])) == 4


@embedded_only
@pytest.mark.parametrize("option", [{"min_keypoints": 1}, {"proposal_files": ["a.pkl"]}])
def test_key_points_and_proposals_are_refused(coco, option):
    with pytest.raises(ValueError, match="min_keypoints and proposal_files"):
        get_detection_dataset_dicts("tiny", **option)


@pytest.mark.parametrize("num_classes", [1, 2, 3, 8])
def test_the_histogram_counts_instances_but_not_crowds(caplog, num_classes):
    names = [f"a class called {i}" if i else "first" for i in range(num_classes)]
    annotations = [
        {"category_id": i} for i in range(num_classes) for _ in range(num_classes * 100 + i)
    ]
    annotations.append({"category_id": 0, "iscrowd": 1})
    with caplog.at_level(logging.INFO):
        print_instances_class_histogram([{"annotations": annotations}], names)
    cells = [cell.strip() for cell in caplog.text.replace("\n", "|").split("|")]
    for i, name in enumerate(["first"] + ["a class cal.."] * (num_classes - 1)):
        assert name in cells
        assert str(num_classes * 100 + i) in cells
    if num_classes > 1:
        assert str(len(annotations) - 1) in cells[cells.index("total") :]


def test_the_histogram_refuses_ids_outside_of_the_classes():
    for category_id in (-1, 2):
        record = {"annotations": [{"category_id": category_id}]}
        with pytest.raises(AssertionError, match=f"{category_id}"):
            print_instances_class_histogram([record], ["a", "b"])
