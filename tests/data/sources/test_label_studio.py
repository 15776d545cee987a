"""Label Studio's exports: addresses, shapes, and the choice among several labellers."""

import json

import pytest
from label_files import LABELS, draw, label_studio_task

from dyhead.data.checks import kinds
from dyhead.data.sources import read_source
from dyhead.errors import UserError

BOX = {"x": 25, "y": 50, "width": 50, "height": 25, "rotation": 0}
LABELLED = {**BOX, "rectanglelabels": ["bee"]}


def write(folder, *tasks):
    draw(folder / "images", {"a.png": ((64, 48), [])})
    (folder / "tasks.json").write_text(json.dumps(tasks))
    return folder / "tasks.json"


def result(value, size=(64, 48), **more):
    return {"original_width": size[0], "original_height": size[1], "value": value, **more}


def task(*results, address="a.png", **more):
    annotation = {"id": 1, "result": list(results), **more}
    return {"data": {"image": address}, "annotations": [annotation]}


def boxes(source):
    return [pytest.approx(annotation["bbox"]) for annotation in source.content["annotations"]]


@pytest.mark.parametrize(
    ("value", "box"),
    [
        (LABELLED, [16, 24, 32, 12]),
        ({**BOX, "labels": ["bee"]}, [16, 24, 32, 12]),
        ({**BOX, "rotation": 90, "rectanglelabels": ["bee"]}, [4, 24, 12, 32]),
        ({"points": [[25, 50], [75, 50], [50, 75]], "polygonlabels": ["bee"]}, [16, 24, 32, 12]),
        (
            {"x": 50, "y": 50, "radiusX": 25, "radiusY": 25, "ellipselabels": ["bee"]},
            [16, 12, 32, 24],
        ),
    ],
)
def test_shapes_are_in_percent_of_the_image(folder, value, box):
    """Rectangles turn clockwise about their first corner."""
    assert boxes(read_source(write(folder, task(result(value))))) == [box]


@pytest.mark.parametrize(
    "address",
    [
        "a.png",
        "/data/upload/3/0123abcd-a.png",
        "/data/local-files/?d=somewhere/a.png",
        "s3://bucket/somewhere/a.png",
        "https://example.org/somewhere/a.png?signature=x",
        "https://example.org/somewhere/a.png?d=other.png",
    ],
)
def test_addresses_lead_to_the_file_in_the_image_folder(folder, address):
    source = read_source(write(folder, task(result(LABELLED), address=address)))
    assert [image["file_name"] for image in source.content["images"]] == ["a.png"]


def test_an_escaped_address_is_a_name_with_its_letters(folder):
    path = write(folder, task(result(LABELLED), address="/data/upload/3/0123abcd-n%C3%A9%20b.png"))
    draw(folder / "images", {"né b.png": ((64, 48), [])})
    assert read_source(path).content["images"][0]["file_name"] == "né b.png"


def test_an_image_that_is_missing_keeps_its_name_for_the_checks(folder):
    source = read_source(write(folder, task(result(LABELLED), address="s3://bucket/x/nowhere.png")))
    assert source.content["images"][0]["file_name"] == "x/nowhere.png"


def test_tasks_that_nobody_labelled_are_left_out_and_empty_ones_stay(folder):
    unlabelled = {"data": {"image": "a.png"}, "annotations": []}
    skipped = task(result(LABELLED), was_cancelled=True)
    labelled = task(result(LABELLED))
    source = read_source(write(folder, unlabelled, skipped, labelled, task()))
    assert len(source.content["images"]) == 2 and len(source.content["annotations"]) == 1
    assert source.report.count(kinds.UNLABELLED_IMAGE) == 2


def test_of_several_labellers_the_ground_truth_counts_or_else_the_last(folder):
    first, last = ([result({**BOX, "rectanglelabels": [name]})] for name in ("ant", "bee"))
    both = {
        "data": {"image": "a.png"},
        "annotations": [
            {"result": last, "updated_at": "2026-02-01T00:00:00Z"},
            {"result": first, "updated_at": "2026-01-01T00:00:00Z"},
        ],
    }
    source = read_source(write(folder, both))
    assert [c["name"] for c in source.content["categories"]] == ["bee"]
    assert source.report.count(kinds.SEVERAL_LABELLERS) == 1
    both["annotations"][1]["ground_truth"] = True
    source = read_source(write(folder, both))
    assert [c["name"] for c in source.content["categories"]] == ["ant"]


def test_without_times_the_last_annotation_counts(folder):
    first, last = ([result({**BOX, "rectanglelabels": [name]})] for name in ("ant", "bee"))
    both = {"data": {"image": "a.png"}, "completions": [{"result": first}, {"result": last}]}
    source = read_source(write(folder, both))
    assert [category["name"] for category in source.content["categories"]] == ["bee"]


def test_the_short_export_gives_the_same(folder, objects_of):
    draw(folder / "images")
    short = []
    for name, label in LABELS.items():
        (annotation,) = label_studio_task(name, *label)["annotations"]
        found = [{**each.pop("value"), **each} for each in annotation["result"]]
        short.append({"id": 5, "image": f"/data/upload/7/0123abcd-{name}", "label": found})
    (folder / "tasks.json").write_text(json.dumps(short))
    source = read_source(folder / "tasks.json")
    assert objects_of(source) == {name: objects for name, (_, objects) in LABELS.items()}


def test_a_shape_that_cannot_be_placed_is_named(folder):
    turned = result(LABELLED, image_rotation=90)
    no_size = result(LABELLED, size=(0, 0))
    text = result({**BOX, "x": "left", "rectanglelabels": ["bee"]})
    nameless = result(BOX)
    source = read_source(write(folder, task(turned, no_size, text, nameless, result(LABELLED))))
    assert len(source.content["annotations"]) == 1
    reasons = [item.description for item in source.report.findings[kinds.DAMAGED_LABEL]]
    assert len(reasons) == 4 and "tasks.json, task 1, result 1: drawn on" in reasons[0]


def test_brushes_and_key_points_are_no_boxes_and_choices_no_shapes(folder):
    brush = result({"format": "rle", "rle": [1], "brushlabels": ["bee"]})
    point = result({"x": 1, "y": 2, "width": 0.5, "keypointlabels": ["bee"]})
    choice = result({"choices": ["sharp"]})
    box = result({**BOX, "rectanglelabels": ["bee", "ant"]})
    source = read_source(write(folder, task(brush, point, choice, box)))
    assert source.report.count(kinds.NOT_A_BOX) == 2 and len(source.report.findings) == 1
    assert len(source.content["annotations"]) == 2, "one box for each of its labels"


@pytest.mark.parametrize("text", ["[]", "[1, 2]", '[{"data": {"text": "hello"}}]'])
def test_lists_without_images_are_refused(folder, text):
    (folder / "list.json").write_text(text)
    with pytest.raises(UserError, match="json list without images"):
        read_source(folder / "list.json")


def test_a_shape_and_what_is_said_of_it_are_one_object(folder):
    """Tags like Rectangle and Labels, and texts on a region, are results of one id."""
    said = [BOX, {**BOX, "labels": ["bee"]}, {**BOX, "text": ["old"]}, {**BOX, "choices": ["big"]}]
    source = read_source(write(folder, task(*(result(value, id="r1") for value in said))))
    assert boxes(source) == [[16, 24, 32, 12]]
    assert not source.report.findings


@pytest.mark.parametrize("more", [{}, {"id": "r2"}])
def test_a_shape_that_nothing_is_said_of_is_counted(folder, more):
    source = read_source(write(folder, task(result(LABELLED), result(BOX, **more))))
    assert boxes(source) == [[16, 24, 32, 12]]
    assert source.report.count(kinds.DAMAGED_LABEL) == 1
