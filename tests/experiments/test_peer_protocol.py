"""A peer and the command that calls it understand each other."""

import json
from pathlib import Path

import pytest
from data_sets import annotations_digest, find_data_set, prepare_data
from peer_data import input_size, score
from peer_protocol import MARK, Part, Task, heard

from dyhead.errors import UserError
from dyhead.safe_io.json_text import write_json


def test_a_task_survives_its_command_line() -> None:
    task = Task("yolo", "a b.pt", "data", 2.5, 288, 384, 3, 2, "cpu", "out put")
    assert Task.parse(task.arguments()) == task


def test_only_marked_lines_are_heard() -> None:
    assert heard("Downloading 3 files") is None
    assert heard(f'{MARK}{{"a": 1}}\n') == {"a": 1}


def test_peers_read_whole_boxes_with_classes_in_the_order_of_their_ids(
    cells: Path, tmp_path: Path
) -> None:
    folder = prepare_data(find_data_set(cells), tmp_path / "prepared")
    part = Part.read(folder / "train.json")
    assert (part.class_names, part.category_ids) == (["blue", "red"], [3, 7])
    first = part.pictures[0]
    assert (first.id, first.path) == (10, str(cells / "images" / "0.png"))
    assert sorted(first.boxes) == [(4, 5, 20, 30, 1), (30, 8, 16, 16, 0)]


@pytest.mark.parametrize("name", ["blue", "green"])
def test_parts_of_other_classes_are_refused(cells: Path, tmp_path: Path, name: str) -> None:
    """Their classes would be counted alike and mean others: ids 3, 7 and 2, 3."""
    content = json.loads((cells / "val.json").read_text())
    for each in (*content["categories"], *content["annotations"]):
        key = "id" if "name" in each else "category_id"
        if name == "blue" and each[key] == 7:
            each[key] = 2
        elif name == "green" and each.get("name") == "blue":
            each["name"] = name
    (cells / "val.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="train.json has the categories .*give both the same ids"):
        prepare_data(find_data_set(cells), tmp_path / "prepared")


def test_the_digest_of_annotations_ignores_where_pictures_are(cells: Path, tmp_path: Path) -> None:
    def digest() -> str:
        return annotations_digest(prepare_data(find_data_set(cells), tmp_path / "prepared"))

    first = digest()
    moved = find_data_set(cells.rename(tmp_path / "elsewhere"))
    assert annotations_digest(prepare_data(moved, tmp_path / "prepared")) == first
    content = json.loads(Path(moved.val).read_text())
    content["annotations"][0]["category_id"] = 3
    Path(moved.val).write_text(json.dumps(content))
    assert annotations_digest(prepare_data(moved, tmp_path / "prepared")) != first


def test_the_input_size_is_that_of_the_recipe(cells: Path, tmp_path: Path) -> None:
    folder = prepare_data(find_data_set(cells), tmp_path / "prepared")
    config = tmp_path / "config.yaml"
    config.write_text("INPUT: {MIN_SIZE_TEST: 288, MAX_SIZE_TEST: 320}\n")
    assert input_size(folder, str(config)) == (240, 320)


def test_detections_are_scored_by_their_overlap(cells: Path, tmp_path: Path) -> None:
    folder = prepare_data(find_data_set(cells), tmp_path / "prepared")
    part = Part.read(folder / "val.json")
    perfect = [
        {
            "image_id": picture.id,
            "category_id": part.category_ids[number],
            "bbox": [x, y, width, height],
            "score": 0.9,
        }
        for picture in part.pictures
        for x, y, width, height, number in picture.boxes
    ]
    found = tmp_path / "found.json"
    write_json(perfect, found)
    assert score(folder, found)["AP"] == 100
    write_json(
        [{**each, "bbox": [*each["bbox"][:3], 0.82 * each["bbox"][3]]} for each in perfect], found
    )
    assert (score(folder, found)["AP75"], score(folder, found)["AP"]) == (100, 70)  # IoU 0.82
    write_json([], found)
    assert score(folder, found) == {**score(folder, found), "AP": 0, "AP50": 0}
