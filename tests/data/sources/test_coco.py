"""A file that is json and not COCO's instances is told by what it is."""

import pytest

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
