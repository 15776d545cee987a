"""YOLO's folders, lists and lines, as its tools write them."""

import shutil
from pathlib import Path

import pytest
from label_files import CLASSES, LABELS, draw, write_yolo, yolo_lines
from PIL import Image

from dyhead.data.checks import kinds
from dyhead.data.sources import part_names, read_categories, read_source
from dyhead.errors import UserError

LETTERS = "abcdefghijklmnopqrstuvwxyz"
NAMES = "names:\n  0: ant\n  1: bee\n  2: fly\n"


def one_picture(folder, lines, size=(64, 48), names=NAMES):
    draw(folder / "images", {"a.png": (size, [])})
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text(lines)
    (folder / "data.yaml").write_text(f"train: images\n{names}")
    return folder / "data.yaml"


def split_folders(folder, train="train/images", val="valid/images"):
    """Write the layout that Roboflow exports: a, b and c in train, d in val."""
    for name, (size, objects) in LABELS.items():
        images = folder / (val if name == "d.png" else train)
        labels = images.parent / "labels" if images.name == "images" else images
        draw(images, {name: (size, objects)})
        labels.mkdir(exist_ok=True)
        (labels / name).with_suffix(".txt").write_text(yolo_lines(size, objects))


def boxes(source):
    found = source.content["annotations"]
    return [pytest.approx(annotation["bbox"]) for annotation in found]


def test_fractions_are_of_the_picture_and_name_its_centre(folder):
    source = read_source(one_picture(folder, "1 0.5 0.25 0.5 0.5\n"))
    assert boxes(source) == [[16, 0, 32, 24]]
    assert source.content["annotations"][0]["category_id"] == 2


def test_fractions_are_of_the_picture_as_it_is_shown(folder):
    path = one_picture(folder, "1 0.5 0.25 0.5 0.5\n")
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (64, 48)).save(folder / "images" / "a.jpg", exif=exif)
    (folder / "images" / "a.png").unlink()
    source = read_source(path)
    assert source.content["images"][0]["width"] == 48
    assert boxes(source) == [[12, 0, 24, 32]]


def test_fractions_of_a_picture_of_unknown_size_become_no_pixels(folder):
    """The label of a.png, which is damaged, has no place in COCO's form; that of b.png has."""
    path = one_picture(folder, "1 0.5 0.25 0.5 0.5\n\n0 0.5 0.5 0.2 0.2\n")
    (folder / "images" / "a.png").write_bytes(b"no picture")
    draw(folder / "images", {"b.png": ((64, 48), [])})
    (folder / "labels" / "b.txt").write_text("1 0.5 0.25 0.5 0.5\n")
    source = read_source(path)
    assert [image["file_name"] for image in source.content["images"]] == [
        "images/a.png",
        "images/b.png",
    ]
    assert boxes(source) == [[16, 0, 32, 24]]
    found = source.report.findings[kinds.LOST_IMAGE]
    assert [item.file_name for item in found] == ["images/a.png"] * 2
    assert "a.txt, line 3" in found[1].description


def test_polygons_count_by_the_boxes_around_them(folder):
    source = read_source(one_picture(folder, "0 0.25 0.5 0.5 0.25 0.75 0.5 0.5 1.0\n"))
    assert boxes(source) == [[16, 12, 32, 36]]


def test_key_points_are_told_from_polygons_by_the_yaml(folder):
    names = NAMES + "kpt_shape: [2, 2]\n"
    source = read_source(one_picture(folder, "0 0.5 0.5 0.5 0.5 0.4 0.4 0.9 0.9\n", names=names))
    assert boxes(source) == [[16, 12, 32, 24]]


@pytest.mark.parametrize(
    "line",
    [
        "0 0.5 0.5 0.5",
        "0 0.5 0.5 0.5 0.5 0.9",
        "ant 0.5 0.5 0.1 0.1",
        "0 0.5 nan 0.1 0.1",
        "0.5 0.5 0.5 0.1 0.1",
        "0 32 24 20 10",
        "0 1e999 0.5 0.1 0.1",
        "0",
    ],
)
def test_a_line_that_cannot_be_read_is_named(folder, line):
    source = read_source(one_picture(folder, f"1 0.5 0.5 0.5 0.5\n\n{line}\n"))
    assert len(source.content["annotations"]) == 1
    (item,) = source.report.findings[kinds.DAMAGED_LABEL]
    assert f"a.txt, line 3: {line!r} is no class number" in item.description


def test_a_class_number_without_a_name_is_an_unknown_category(folder):
    source = read_source(one_picture(folder, "3 0.5 0.5 0.5 0.5\n2 0.5 0.5 0.5 0.5\n"))
    assert source.report.count(kinds.UNKNOWN_CATEGORY) == 1
    assert [a["category_id"] for a in source.content["annotations"]] == [3]


def test_pictures_without_a_label_file_are_background_and_counted(folder):
    path = write_yolo(folder)
    (folder / "labels" / "train" / "b.txt").unlink()
    (folder / "labels" / "train" / "c.txt").write_text("")
    source = read_source(path)
    assert len(source.content["images"]) == 4
    (item,) = source.report.findings[kinds.BACKGROUND_IMAGE]
    assert item.file_name == "images/train/b.png"


def test_a_set_without_any_label_file_is_refused(folder):
    path = write_yolo(folder)
    (folder / "labels").rename(folder / "label")
    with pytest.raises(UserError, match="none of its 4 pictures has a label file"):
        read_source(path)


def test_label_files_without_a_picture_are_counted(folder):
    path = write_yolo(folder)
    (folder / "images" / "train" / "b.png").unlink()
    source = read_source(path)
    (item,) = source.report.findings[kinds.LABEL_WITHOUT_IMAGE]
    assert item.description.endswith("b.txt")


@pytest.mark.parametrize(
    "prefix", ["", "../", "..\\", "../../", "cells-1/", "/content/cells-1/", "C:\\cells\\"]
)
def test_parts_are_those_of_the_yaml(folder, objects_of, prefix):
    """Roboflow writes ../train/images for train/images, or the folder of its download in front."""
    split_folders(folder)
    yaml = f"train: {prefix}train/images\nval: {prefix}valid/images\ntest: {prefix}gone\n{NAMES}"
    (folder / "data.yaml").write_text(yaml)
    path = folder / "data.yaml"
    assert part_names(path) == ["train", "val"], "gone is not there"
    train, val = (read_source(folder / f"data.yaml#{part}") for part in ("train", "val"))
    assert list(objects_of(train)) == ["a.png", "b.png", "c.png"]
    assert objects_of(val) == {"d.png": LABELS["d.png"][1]}
    assert [source.report.count(kinds.ABSENT_PART) for source in (train, val)] == [1, 0]
    with pytest.raises(UserError, match="has no part 'test': name one of .*#train, .*#val"):
        read_source(folder / "data.yaml#test")


@pytest.mark.parametrize("nothing", ["", "~", "null"])
def test_a_part_may_be_nothing(folder, nothing):
    path = one_picture(folder, "1 0.5 0.25 0.5 0.5\n")
    path.write_text(path.read_text() + f"\ntest: {nothing}\n")
    assert part_names(path) == ["train"]
    assert not read_source(path).report.count(kinds.ABSENT_PART)


def test_a_part_for_training_or_validation_that_is_not_there_is_refused(folder):
    split_folders(folder)
    (folder / "data.yaml").write_text(f"train: train/images\nval: gone\n{NAMES}")
    with pytest.raises(UserError, match="gone is neither a folder nor a list"):
        read_source(folder / "data.yaml#val")


def test_val_and_valid_are_one_part(folder, objects_of):
    split_folders(folder, "train/images", "b/images")
    parts = "train: train/images\nval: train/images\nvalid: b/images\n"
    (folder / "data.yaml").write_text(f"{parts}names: [ant, bee]\n")
    assert len(objects_of(read_source(Path(f"{folder / 'data.yaml'}#val")))) == 4


def test_the_image_folder_may_be_named_through_the_one_above(folder, tmp_path, objects_of):
    path = write_yolo(folder)
    shutil.rmtree(folder / "images")
    draw(tmp_path / "pics" / "images" / "train")
    assert len(objects_of(read_source(path, folder / ".." / "pics"))) == 4


def test_a_part_may_be_a_list_of_files_or_several_folders(folder, objects_of):
    split_folders(folder, "one/images", "two/images")
    (folder / "some.txt").write_text("./one/images/a.png\ndata/one/images/c.png\n")
    (folder / "data.yaml").write_text(f"train: [one/images, two/images]\nval: some.txt\n{NAMES}")
    assert len(objects_of(read_source(folder / "data.yaml#train"))) == 4
    assert list(objects_of(read_source(folder / "data.yaml#val"))) == ["a.png", "c.png"]


def test_a_list_may_name_pictures_outside_its_folder(folder, objects_of):
    split_folders(folder, "../beside/images", "../beside/images")
    (folder / "all.txt").write_text("".join(f"../beside/images/{name}\n" for name in LABELS))
    (folder / "data.yaml").write_text(f"train: all.txt\n{NAMES}")
    source = read_source(folder / "data.yaml")
    assert source.image_root == folder.parent / "beside" / "images"
    assert objects_of(source) == {name: objects for name, (_, objects) in LABELS.items()}


@pytest.mark.parametrize("before", ["/home/me/cells/", "C:\\cells\\", "cells/set/"])
def test_a_list_may_be_of_another_machine(folder, objects_of, before):
    split_folders(folder, "one/images", "one/images")
    (folder / "all.txt").write_text("".join(f"{before}one/images/{name}\n" for name in LABELS))
    (folder / "data.yaml").write_text(f"train: all.txt\n{NAMES}")
    assert len(objects_of(read_source(folder))) == 4


def test_parts_without_a_yaml_may_be_lists(folder, objects_of):
    """Darknet's obj.data names them; a list alone is CVAT's, of all pictures."""
    split_folders(folder, "obj_train_data", "obj_train_data")
    (folder / "obj.names").write_text("\n".join(CLASSES))
    (folder / "train.txt").write_text("".join(f"data/obj_train_data/{n}.png\n" for n in "abd"))
    assert part_names(folder) == []
    (folder / "valid.txt").write_text("data/obj_train_data/c.png\n")
    assert part_names(folder) == ["train", "val"]
    parts = {part: read_source(folder.with_name(f"given#{part}")) for part in ("train", "val")}
    found = {part: list(objects_of(source)) for part, source in parts.items()}
    assert found == {"train": ["a.png", "b.png", "d.png"], "val": ["c.png"]}


def test_the_folder_that_the_yaml_names_may_be_of_another_machine(folder, objects_of):
    write_yolo(folder)
    yaml = (folder / "data.yaml").read_text()
    (folder / "data.yaml").write_text(f"path: /content/drive/cells\n{yaml}")
    assert len(objects_of(read_source(folder))) == 4
    folder.rename(folder.with_name("moved"))
    folder.mkdir()
    for place in ("../moved", "..\\moved"):
        (folder / "data.yaml").write_text(f"path: {place}\n{yaml}")
        assert len(objects_of(read_source(folder))) == 4


@pytest.mark.parametrize("beside", [True, False])
def test_folders_without_a_yaml_have_a_class_file(folder, objects_of, beside):
    split_folders(folder, "data" if beside else "images", "data" if beside else "images")
    name = "data/classes.txt" if beside else "classes.txt"
    (folder / name).write_text("\n".join(CLASSES))
    source = read_source(folder / "data" if beside else folder)
    assert objects_of(source) == {name: objects for name, (_, objects) in LABELS.items()}
    assert not source.report.findings


def test_parts_without_a_yaml_are_folders_named_after_them(folder, objects_of):
    split_folders(folder, "images/train", "images/val")
    (folder / "obj.names").write_text("\n".join(CLASSES))
    assert part_names(folder) == ["train", "val"]
    assert list(objects_of(read_source(folder.with_name("given#val")))) == ["d.png"]


@pytest.mark.parametrize(
    "names", ["[yes, no, 1.0]", "{0: yes, 1: no, 2: 1.0}", "{2: 1.0, 0: yes, 1: no}"]
)
def test_names_stay_as_they_are_written(folder, names):
    path = one_picture(folder, "0 0.5 0.5 0.5 0.5\n", names=f"names: {names}\n")
    assert [category["name"] for category in read_categories(path)] == ["yes", "no", "1.0"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("names: []", "names has to list the class names"),
        ("names: {0: a, 2: b}", "names has to list the class names"),
        ("names: [a, [b]]", "names has to list the class names"),
        ("nc: 3\nnames: [a, b]", "nc is 3, but names has 2 classes"),
        ("names: [a, a]", "names the class 'a' twice"),
        ("names: [a", "no well-formed YAML"),
    ],
)
def test_a_yaml_that_cannot_be_used_is_refused_with_the_reason(folder, names, message):
    path = one_picture(folder, "0 0.5 0.5 0.5 0.5\n", names=f"{names}\n")
    with pytest.raises(UserError, match=message):
        read_source(path)


def test_a_yaml_runs_no_code_and_its_aliases_do_not_grow(folder):
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n"
        for a, b in zip("abcdefghijklmno", "bcdefghijklmnop", strict=True)
    )
    path = one_picture(folder, "", names=f"{bomb}names: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(UserError, match="names has to list"):
        read_source(path)
