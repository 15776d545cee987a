"""Every format is recognised by content and gives the same data set."""

import json
import shutil

import pytest
from label_files import (
    CLASSES,
    LABELS,
    WRITERS,
    draw,
    write_coco,
    write_labelme,
    write_voc,
    write_yolo,
)

from dyhead.data.checks import check_coco
from dyhead.data.sources import part_names, read_categories, read_source
from dyhead.errors import UserError


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_images_classes_and_boxes(folder, kind, objects_of):
    source = read_source(WRITERS[kind](folder))
    assert source.kind == kind
    assert [category["name"] for category in source.content["categories"]] == list(CLASSES)
    assert objects_of(source) == {name: objects for name, (_, objects) in LABELS.items()}
    sizes = [(image["width"], image["height"]) for image in source.content["images"]]
    assert sizes == [size for size, _ in LABELS.values()]
    assert not source.report.findings


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_passes_the_checks(folder, kind):
    source = read_source(WRITERS[kind](folder))
    checked, report = check_coco(
        source.content, source.path, source.image_root, report=source.report
    )
    assert not report.findings
    assert len(checked["images"]) == 4 and len(checked["annotations"]) == 6


@pytest.mark.parametrize("kind", WRITERS)
def test_a_folder_stands_for_the_file_in_it(folder, kind, objects_of):
    path = WRITERS[kind](folder)
    assert objects_of(read_source(folder)) == objects_of(read_source(path))


@pytest.mark.parametrize("kind", WRITERS)
def test_categories_are_read_without_any_image(folder, kind):
    path = WRITERS[kind](folder)
    for picture in folder.rglob("*.png"):
        picture.write_bytes(b"")
    assert [category["name"] for category in read_categories(path)] == list(CLASSES)


@pytest.mark.parametrize("kind", WRITERS)
def test_pictures_may_lie_in_a_folder_that_is_named(folder, tmp_path, kind, objects_of):
    path = WRITERS[kind](folder)
    expected = objects_of(read_source(path))
    for picture in folder.rglob("*.png"):
        picture.unlink()
    pictures = tmp_path / "elsewhere"
    draw(pictures / "images" / "train" if kind == "YOLO" else pictures)
    source = read_source(path, pictures)
    assert source.image_root == pictures
    assert objects_of(source) == expected
    assert all((pictures / image["file_name"]).is_file() for image in source.content["images"])


def test_a_coco_json_is_the_very_content_of_its_file(folder):
    path = write_coco(folder)
    source = read_source(path)
    assert source.content == json.loads(path.read_text()) and source.is_verbatim
    assert source.image_root == folder / "images"


def test_a_folder_has_a_part_for_each_coco_json(folder, objects_of):
    path = write_coco(folder)
    shutil.copy(path, folder / "instances_val2017.json")
    path.rename(folder / "instances_train2017.json")
    assert part_names(folder) == ["train", "val"]
    assert len(objects_of(read_source(folder / "../given#val"))) == 4
    with pytest.raises(UserError, match=r"several parts: name one of .*given#train, .*given#val"):
        read_source(folder)
    (folder / "instances_other.json").write_text("{}")
    with pytest.raises(UserError, match="several json files: name the one"):
        read_source(folder)


def test_label_studios_export_as_yolo_is_read_with_its_notes_beside(folder, objects_of):
    write_yolo(folder).unlink()
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    classes = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    info = {"year": 2026, "version": "1.0", "contributor": "Label Studio"}
    (folder / "notes.json").write_text(json.dumps({"categories": classes, "info": info}))
    source = read_source(folder)
    assert source.kind == "YOLO"
    assert objects_of(source) == {name: objects for name, (_, objects) in LABELS.items()}


@pytest.mark.parametrize("write", [write_coco, write_labelme])
def test_texts_beside_json_labels_do_not_make_them_yolo(folder, write, objects_of):
    """A class file, and a text in a folder that happens to lie below one called labels."""
    folder = folder / "labels" / "set"
    folder.mkdir(parents=True)
    write(folder)
    (folder / "labels.txt").write_text("\n".join(CLASSES))
    (folder / "about.txt").write_text("Insects on leaves\n")
    found = objects_of(read_source(folder))
    assert found == {name: objects for name, (_, objects) in LABELS.items()}


def test_a_part_that_is_not_there_is_answered_with_those_that_are(folder):
    with pytest.raises(UserError, match=r"has no part 'val': name one of .*data.yaml#train"):
        read_source(write_yolo(folder).with_name("data.yaml#val"))
    with pytest.raises(UserError, match="no parts of its own: it is divided .* not test"):
        read_source(write_voc(folder / "voc").with_name("voc#test"))


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("part", ["#train", "#val"])
def test_what_was_read_names_the_path_to_read_it_again(folder, kind, part):
    path = WRITERS[kind](folder)
    if kind == "YOLO" and part == "#val":
        pytest.skip("it has one part of its own")
    source = read_source(path.with_name(path.name + part))
    assert str(source.path).endswith(part) and source.report.source == str(source.path)
    assert read_source(source.path, source.image_root).content == source.content


def test_a_file_whose_name_has_the_mark_is_that_file(folder, objects_of):
    path = write_coco(folder)
    named = path.rename(folder / "take#val")
    assert len(objects_of(read_source(named))) == 4


def test_one_label_file_of_voc_is_answered_with_its_folder(folder):
    write_voc(folder)
    with pytest.raises(UserError, match="labels one image: name the folder"):
        read_source(folder / "Annotations" / "a.xml")


def test_unknown_and_missing_sources_are_refused(folder):
    with pytest.raises(UserError, match="nowhere.json does not exist"):
        read_source(folder / "nowhere.json")
    with pytest.raises(UserError, match="holds no labels of a known format"):
        read_source(folder)
    draw(folder)
    with pytest.raises(UserError, match="holds no labels of a known format"):
        read_source(folder)
