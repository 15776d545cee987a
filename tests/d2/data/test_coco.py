import json
import logging
import os
import subprocess
import sys

import numpy as np
import pycocotools.mask as mask_util
import pytest
from pycocotools.coco import COCO

from dyhead.d2 import HOST
from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.d2.data.datasets import (
    convert_to_coco_json,
    load_coco_json,
    register_coco_instances,
)
from dyhead.d2.structures import BoxMode

embedded_only = pytest.mark.skipif(HOST != "embedded", reason="of the embedded host only")


def rewrite(folder, change):
    """Apply `change` to the content of the folder's json."""
    path = folder / "instances.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return str(path)


def test_images_come_in_the_order_of_their_ids(coco):
    records = load_coco_json(str(coco / "instances.json"), str(coco))
    assert [record["image_id"] for record in records] == [10, 20, 30, 40, 50]
    assert records[0]["file_name"] == os.path.join(str(coco), "10.png")
    assert (records[0]["width"], records[0]["height"]) == (40, 60)


def test_images_without_annotations_stay(coco):
    records = DatasetCatalog.get("tiny")
    assert [len(record["annotations"]) for record in records] == [2, 0, 2, 1, 2]


def test_gaps_in_category_ids_are_closed_in_the_order_of_the_ids(coco):
    records = DatasetCatalog.get("tiny")
    metadata = MetadataCatalog.get("tiny")
    assert metadata.thing_classes == ["cat", "dog", "bird"]
    assert metadata.thing_dataset_id_to_contiguous_id == {2: 0, 7: 1, 90: 2}
    assert [a["category_id"] for a in records[2]["annotations"]] == [1, 2]


def test_gaps_in_category_ids_are_reported(coco, caplog):
    with caplog.at_level(logging.WARNING):
        DatasetCatalog.get("tiny")
    assert "Category ids in" in caplog.text


def test_without_a_name_category_ids_stay(coco):
    records = load_coco_json(str(coco / "instances.json"), str(coco))
    assert [a["category_id"] for a in records[2]["annotations"]] == [7, 90]


def test_boxes_are_xywh_and_crowds_are_marked(coco):
    box, crowd = DatasetCatalog.get("tiny")[2]["annotations"]
    assert box["bbox"] == [10.5, 5, 20, 30]
    assert box["bbox_mode"] == BoxMode.XYWH_ABS
    assert (box["iscrowd"], crowd["iscrowd"]) == (0, 1)


def test_a_json_without_annotations_has_images_only(coco):
    path = rewrite(coco, lambda content: content.pop("annotations"))
    records = load_coco_json(path, str(coco), "test_only")
    MetadataCatalog.remove("test_only")
    assert [record["annotations"] for record in records] == [[]] * 5


def test_extra_keys_are_kept_as_they_are(coco):
    path = rewrite(coco, lambda content: content["annotations"][0].update(difficult=[1]))
    records = load_coco_json(path, str(coco), extra_annotation_keys=["difficult"])
    assert records[2]["annotations"][0]["difficult"] == [1]
    assert "area" not in records[2]["annotations"][0]


def test_polygons_of_less_than_three_points_are_dropped_and_counted(coco, caplog):
    def change(content):
        content["annotations"][0]["segmentation"] = [[0, 0, 5, 5], [0, 0, 5, 0, 5, 5]]
        content["annotations"][1]["segmentation"] = [[0, 0, 5, 5]]

    path = rewrite(coco, change)
    with caplog.at_level(logging.WARNING):
        (instance,) = load_coco_json(path, str(coco))[2]["annotations"]
    assert instance["segmentation"] == [[0, 0, 5, 0, 5, 5]]
    assert "1 instances" in caplog.text


def test_run_length_codes_are_compressed(coco):
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 5:9] = 1
    counts = [210, 10, 30, 10, 30, 10, 30, 10, 2400 - 340]

    def change(content):
        content["annotations"][0]["segmentation"] = {"counts": counts, "size": [40, 60]}

    (instance, _) = load_coco_json(rewrite(coco, change), str(coco))[2]["annotations"]
    np.testing.assert_array_equal(mask_util.decode(instance["segmentation"]), mask)


def test_key_points_move_from_pixels_to_continuous_coordinates(coco):
    path = rewrite(coco, lambda c: c["annotations"][0].update(keypoints=[3, 4, 2, 5, 6, 0]))
    (instance, _) = load_coco_json(path, str(coco))[2]["annotations"]
    assert instance["keypoints"] == [3.5, 4.5, 2, 5.5, 6.5, 0]


def test_an_unknown_category_is_named(coco):
    rewrite(coco, lambda content: content["annotations"][0].update(category_id=5))
    with pytest.raises(KeyError, match="category_id=5"):
        DatasetCatalog.get("tiny")


def test_an_empty_box_is_refused(coco):
    rewrite(coco, lambda content: content["annotations"][0].update(bbox=[]))
    with pytest.raises(ValueError, match="image 30.*empty 'bbox'"):
        DatasetCatalog.get("tiny")


def test_repeated_annotation_ids_are_refused(coco):
    rewrite(coco, lambda content: content["annotations"][0].update(id=2))
    with pytest.raises(AssertionError, match="not unique"):
        DatasetCatalog.get("tiny")


def test_annotations_of_unknown_images_are_counted(coco, caplog):
    rewrite(coco, lambda content: content["annotations"][0].update(image_id=999))
    with caplog.at_level(logging.WARNING):
        records = DatasetCatalog.get("tiny")
    assert sum(len(record["annotations"]) for record in records) == 6
    assert "7 annotations" in caplog.text


@embedded_only
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("images"), "no list of 'images'"),
        (lambda c: c["images"][0].pop("width"), "lacks width"),
        (lambda c: c["annotations"][0].pop("image_id"), "lacks image_id"),
        (lambda c: c["images"].append(c["images"][0]), "1 images whose 'id' is used before"),
        (lambda c: c.update(categories=[]), "no 'categories'"),
    ],
)
def test_a_broken_json_is_answered_with_what_is_wrong(coco, change, message):
    path = rewrite(coco, change)
    with pytest.raises(ValueError, match=message) as error:
        DatasetCatalog.get("tiny")
    assert path in str(error.value)


@embedded_only
def test_a_file_that_is_no_json_is_named(coco):
    (coco / "instances.json").write_text("{")
    with pytest.raises(ValueError, match=r"instances\.json is no valid json"):
        DatasetCatalog.get("tiny")


@embedded_only
def test_a_missing_json_is_named(coco):
    (coco / "instances.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"instances\.json does not exist"):
        DatasetCatalog.get("tiny")


def test_registering_sets_the_metadata_at_once(coco):
    metadata = MetadataCatalog.get("tiny")
    assert metadata.json_file == str(coco / "instances.json")
    assert metadata.image_root == str(coco)
    assert metadata.evaluator_type == "coco"


def test_registering_the_same_dataset_again_does_nothing(coco):
    register_coco_instances("tiny", {}, str(coco / "instances.json"), str(coco))
    with pytest.raises(AssertionError):
        register_coco_instances("tiny", {}, "elsewhere.json", str(coco))


def test_a_dataset_of_dicts_becomes_a_coco_json(coco):
    mask = np.zeros((50, 50), np.uint8, order="F")
    mask[10:20, 10:15] = 1
    record = {
        "file_name": "a.png",
        "image_id": 3,
        "height": 50,
        "width": 50,
        "annotations": [
            {"bbox": [1, 2, 11, 22], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1},
            {
                "bbox": np.array([10, 10, 5, 10]),
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": 0,
                "iscrowd": 1,
                "segmentation": mask_util.encode(mask),
            },
            {
                "bbox": [0.0, 0.0, 4.0, 4.0],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "segmentation": [[0, 0, 4, 0, 4, 4]],
            },
        ],
    }
    DatasetCatalog.register("dicts", lambda: [record])
    MetadataCatalog.get("dicts").set(
        thing_classes=["cat", "dog"], thing_dataset_id_to_contiguous_id={4: 0, 9: 1}
    )
    path = str(coco / "new folder" / "converted.json")
    convert_to_coco_json("dicts", path)

    annotations = COCO(path).loadAnns([1, 2, 3])
    assert [a["bbox"] for a in annotations] == [[1, 2, 10, 20], [10, 10, 5, 10], [0, 0, 4, 4]]
    assert [a["area"] for a in annotations] == [200, 50, 8]
    assert [a["category_id"] for a in annotations] == [9, 4, 4]
    assert [a["iscrowd"] for a in annotations] == [0, 1, 0]
    (loaded,) = load_coco_json(path, "")
    assert (loaded["image_id"], loaded["file_name"]) == (3, "a.png")
    crowd = loaded["annotations"][1]
    np.testing.assert_array_equal(mask_util.decode(crowd["segmentation"]), mask)


def test_a_converted_json_is_kept_when_cached(coco):
    path = coco / "converted.json"
    path.write_text("{}")
    convert_to_coco_json("tiny", str(path), allow_cached=True)
    assert path.read_text() == "{}"


BUILTIN = """
from dyhead.d2.data import DatasetCatalog, MetadataCatalog
for name in ("coco_2017_train", "coco_2017_val", "coco_2014_minival"):
    metadata = MetadataCatalog.get(name)
    assert name in DatasetCatalog
    print(metadata.json_file, metadata.image_root, len(metadata.thing_classes))
    ids = metadata.thing_dataset_id_to_contiguous_id
    print(metadata.thing_classes[0], metadata.thing_classes[79], ids[1], ids[13], ids[90])
"""


def test_coco_is_found_below_the_folder_that_the_environment_names(tmp_path):
    environment = {**os.environ, "DETECTRON2_DATASETS": "~/data", "HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILTIN],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    root = tmp_path / "data" / "coco"
    assert run.stdout.splitlines()[::2] == [
        f"{root}/annotations/instances_train2017.json {root}/train2017 80",
        f"{root}/annotations/instances_val2017.json {root}/val2017 80",
        f"{root}/annotations/instances_minival2014.json {root}/val2014 80",
    ]
    assert set(run.stdout.splitlines()[1::2]) == {"person toothbrush 0 11 79"}
