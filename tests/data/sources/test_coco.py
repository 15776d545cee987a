"""A file that is json and not COCO's instances is told by what it is."""

import json

import pytest
from PIL import Image

from dyhead.data.sources import read_source
from dyhead.data.sources.coco import read_coco


def test_a_list_of_detections_is_recognised(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]')
    with pytest.raises(ValueError, match=r"results.json .*list of detections"):
        read_coco(path)


@pytest.mark.parametrize("content", ["[]", "5", "null", '"text"', '{"images": 3}', "[[1]]"])
def test_other_json_is_not_coco(tmp_path, content):
    path = tmp_path / "some.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="not in COCO's instances format, .*no list 'images'"):
        read_coco(path)


@pytest.mark.parametrize("identifier", [1, 1.0, "1"])
def test_the_image_folder_is_found_whatever_form_ids_have(tmp_path, identifier):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    images = [{"id": identifier, "file_name": "a.png"}]
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "bee"}]}
    (tmp_path / "all.json").write_text(json.dumps(content))
    assert read_source(tmp_path / "all.json").image_root == tmp_path / "images"


def test_the_image_folder_may_have_the_end_of_the_jsons_name(tmp_path):
    """COCO's own layout: annotations/instances_val2017.json beside val2017."""
    for name in ("annotations", "train2017", "val2017"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "val2017" / "a.png")
    images = [{"id": 1, "file_name": "a.png"}]
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "bee"}]}
    path = tmp_path / "annotations" / "instances_val2017.json"
    path.write_text(json.dumps(content))
    assert read_source(path).image_root == tmp_path / "val2017"
