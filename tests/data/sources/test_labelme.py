"""Labels of labelme: shapes, and the pictures that they name."""

import json

import pytest
from label_files import LABELS, draw, labelme_json

from dyhead.data.checks import kinds
from dyhead.data.sources import part_names, read_source


def write(folder, *shapes, **more):
    draw(folder, {"a.png": ((64, 48), [])})
    content = {**labelme_json("a.png", (64, 48), []), "shapes": list(shapes), **more}
    (folder / "a.json").write_text(json.dumps(content))
    return folder


def shape(kind, *points, label="bee"):
    return {"label": label, "shape_type": kind, "points": [list(point) for point in points]}


@pytest.mark.parametrize(
    ("drawn", "box"),
    [
        (shape("rectangle", (30, 20), (10, 5)), [10, 5, 20, 15]),
        (shape("rectangle", (10, 5), (30, 5), (30, 20), (10, 20)), [10, 5, 20, 15]),
        (shape("polygon", (10, 10), (30.5, 12), (20, 40)), [10, 10, 20.5, 30]),
        (shape("circle", (20, 20), (23, 24)), [15, 15, 10, 10]),
        (shape("mask", (10, 5), (29, 19)), [10, 5, 20, 15]),
        ({"label": "bee", "points": [[1, 2], [3, 2], [3, 9]]}, [1, 2, 2, 7]),
    ],
)
def test_shapes_count_by_the_boxes_around_them(folder, drawn, box):
    source = read_source(write(folder, drawn))
    assert [annotation["bbox"] for annotation in source.content["annotations"]] == [box]
    assert not source.report.findings


def grouped(shape, group):
    return {**shape, "group_id": group}


def test_shapes_of_one_label_and_group_are_one_object_with_the_box_around_all(folder):
    """A bee behind a stem is drawn in two pieces; a group also holds an ant, a flower none."""
    source = read_source(
        write(
            folder,
            grouped(shape("polygon", (10, 10), (14, 10), (12, 18)), 0),
            grouped(shape("rectangle", (50, 5), (60, 25), label="ant"), 0),
            grouped(shape("circle", (30, 20), (33, 24)), 0),
            grouped(shape("rectangle", (1, 2), (9, 9)), 1),
            grouped(shape("rectangle", (2, 30), (8, 40)), None),
            shape("rectangle", (2, 30), (8, 41)),
        )
    )
    names = {category["id"]: category["name"] for category in source.content["categories"]}
    found = [(names[a["category_id"]], a["bbox"]) for a in source.content["annotations"]]
    assert found == [
        ("bee", [10, 10, 25, 15]),
        ("ant", [50, 5, 10, 20]),
        ("bee", [1, 2, 8, 7]),
        ("bee", [2, 30, 6, 10]),
        ("bee", [2, 30, 6, 11]),
    ]
    assert not source.report.findings


def test_of_a_group_the_shapes_that_have_boxes_count(folder):
    shapes = (shape("rectangle", (1, 2), (9, 9)), shape("line", (1, 2), (60, 40)), shape("circle"))
    source = read_source(write(folder, *(grouped(each, 3) for each in shapes)))
    assert [annotation["bbox"] for annotation in source.content["annotations"]] == [[1, 2, 8, 7]]
    assert source.report.counts == {kinds.NOT_A_BOX: 1, kinds.DAMAGED_LABEL: 1}


@pytest.mark.parametrize("group", [[1], {"a": 1}, float("nan"), ""])
def test_a_group_that_is_no_number_or_name_joins_nothing(folder, group):
    shapes = (shape("rectangle", (1, 2), (9, 9)), shape("rectangle", (30, 20), (40, 40)))
    source = read_source(write(folder, *(grouped(each, group) for each in shapes)))
    assert len(source.content["annotations"]) == 2


def test_points_and_lines_are_left_out_and_counted(folder):
    shapes = (
        shape("point", (1, 2)),
        shape("line", (1, 2), (3, 4)),
        shape("rectangle", (1, 2), (9, 9)),
    )
    source = read_source(write(folder, *shapes))
    assert len(source.content["annotations"]) == 1
    assert source.report.count(kinds.NOT_A_BOX) == 2


@pytest.mark.parametrize(
    "damaged",
    [
        7,
        {},
        shape("rectangle"),
        shape("rectangle", (1, 2)),
        shape("rectangle", (1, 2), (3,)),
        shape("rectangle", (1, 2), (3, None)),
        shape("rectangle", (1, 2), (3, 4), label=5),
        shape("polygon", (1, 2), (3, 4)),
        shape("circle", (1, 2), (3, 10**400)),
        shape(["x"], (1, 2)),
    ],
)
def test_a_shape_that_cannot_be_read_is_named(folder, damaged):
    source = read_source(write(folder, shape("rectangle", (1, 2), (9, 9)), damaged))
    assert len(source.content["annotations"]) == 1
    (item,) = source.report.findings[kinds.DAMAGED_LABEL]
    assert "a.json, shape 2" in item.description and item.file_name == "a.png"


@pytest.mark.parametrize(
    "said", ["a.png", "..\\given\\a.png", "C:\\photos\\a.png", "", None, "x.png"]
)
def test_the_picture_is_found_however_it_is_named(folder, said):
    source = read_source(write(folder, shape("rectangle", (1, 2), (9, 9)), imagePath=said))
    assert [image["file_name"] for image in source.content["images"]] == ["a.png"]


def test_a_damaged_file_leaves_its_picture_out(folder):
    write(folder, shape("rectangle", (1, 2), (9, 9)))
    draw(folder, {"b.png": ((64, 48), [])})
    (folder / "b.json").write_text('{"shapes": [')
    source = read_source(folder)
    assert [image["file_name"] for image in source.content["images"]] == ["a.png"]
    assert source.report.count(kinds.DAMAGED_LABEL_FILE) == 1


def test_the_first_lines_of_labelmes_list_of_labels_are_no_classes(folder, objects_of):
    """Its converters give these two the numbers -1 and 0."""
    write(folder, shape("rectangle", (1, 2), (9, 9)), shape("circle", (9, 9), (9, 12), label="ant"))
    (folder.parent / "labels.txt").write_text("__ignore__\n_background_\nbee\nant\n")
    source = read_source(folder)
    assert source.content["categories"] == [{"id": 1, "name": "bee"}, {"id": 2, "name": "ant"}]
    assert objects_of(source) == {"a.png": [("bee", (1, 2, 8, 7)), ("ant", (6, 6, 6, 6))]}


def test_parts_are_folders_named_after_them(folder, objects_of):
    for part, name in (("train", "a.png"), ("val", "b.png")):
        draw(folder / part, {name: LABELS[name]})
        (folder / part / name).with_suffix(".json").write_text(
            json.dumps(labelme_json(name, *LABELS[name]))
        )
    assert part_names(folder) == ["train", "val"]
    val = read_source(folder.with_name("given#val"))
    assert objects_of(val) == {"b.png": LABELS["b.png"][1]}
    assert [c["name"] for c in val.content["categories"]] == ["ant", "bee", "fly"]
