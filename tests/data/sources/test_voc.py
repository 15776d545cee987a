"""PASCAL VOC as its development kit, labelling tools and people write it."""

from pathlib import Path

import pytest
from label_files import LABELS, draw, voc_xml, write_voc

from dyhead.data.checks import kinds
from dyhead.data.sources import part_names, read_source

BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
ONE = f"<object><name>bee</name>{{}}{BOX}</object>"


def write(folder, content, name="a"):
    draw(folder, {f"{name}.png": ((64, 48), [])})
    (folder / f"{name}.xml").write_text(f"<annotation>{content}</annotation>")
    return folder


def boxes(source):
    return [tuple(annotation["bbox"]) for annotation in source.content["annotations"]]


def test_corners_of_labelling_tools_are_taken_as_they_stand(folder):
    source = read_source(write(folder, ONE.format("", 0, 0, 64, 48)))
    assert boxes(source) == [(0, 0, 64, 48)]


@pytest.mark.parametrize(
    "said",
    ["<database>The VOC2007 Database</database>", "<annotation>PASCAL VOC2012</annotation>"],
)
def test_the_development_kit_counts_pixels_from_one(folder, said):
    """Its box 1 1 64 48 is all of a picture of 64 x 48 pixels."""
    source = read_source(write(folder, f"<source>{said}</source>" + ONE.format("", 1, 1, 64, 48)))
    assert boxes(source) == [(0, 0, 64, 48)]


def test_difficult_objects_are_ignored_and_truncated_ones_are_not(folder):
    hard, cut = "<difficult>1</difficult>", "<truncated>1</truncated><difficult>0</difficult>"
    text = ONE.format(hard, 1, 2, 30, 40) + ONE.format(cut, 5, 6, 30, 40)
    found = read_source(write(folder, text)).content["annotations"]
    assert [annotation.get("ignore", 0) for annotation in found] == [1, 0]


@pytest.mark.parametrize(("said", "ignore"), [("True", 1), ("1.0", 1), ("false", 0), ("", 0)])
def test_difficult_may_be_said_in_words(folder, said, ignore):
    text = ONE.format(f"<difficult>{said}</difficult>", 1, 2, 30, 40)
    (found,) = read_source(write(folder, text)).content["annotations"]
    assert found.get("ignore", 0) == ignore


def test_boxes_of_parts_are_not_those_of_objects(folder):
    head = f"<part><name>head</name>{BOX.format(9, 9, 12, 12)}</part>"
    source = read_source(write(folder, ONE.format(head, 1, 2, 30, 40)))
    assert boxes(source) == [(1, 2, 29, 38)]
    assert [category["name"] for category in source.content["categories"]] == ["bee"]


def test_a_rotated_box_becomes_the_upright_one_around_it(folder):
    angle = "<angle>1.5707963267948966</angle>"
    turned = f"<robndbox><cx>20</cx><cy>20</cy><w>20</w><h>10</h>{angle}</robndbox>"
    source = read_source(write(folder, f"<object><name>bee</name>{turned}</object>"))
    assert boxes(source)[0] == pytest.approx((15, 10, 10, 20))
    assert source.report.count(kinds.ROTATED_BOX) == 1


@pytest.mark.parametrize(
    "label",
    [
        "<object><name>bee</name></object>",
        ONE.format("", 1, 2, "x", 40),
        ONE.format("", 1, 2, "nan", 40),
        ONE.format("", 1, 2, "1_0", 40),
        ONE.format("", 1, 2, 30, 40).replace("bee", " "),
    ],
)
def test_an_object_that_cannot_be_read_is_named_by_file_and_line(folder, label):
    source = read_source(write(folder, "\n" + ONE.format("", 1, 2, 30, 40) + "\n" + label))
    assert boxes(source) == [(1, 2, 29, 38)]
    (item,) = source.report.findings[kinds.DAMAGED_LABEL]
    assert "a.xml, line 3: no " in item.description and item.file_name == "a.png"


@pytest.mark.parametrize(
    "damage",
    [
        "<annotation><object>",
        "",
        '<?xml version="1.0" encoding="martian"?><annotation/>',
        '<!DOCTYPE a [<!ENTITY b "<object/>">]><annotation>&b;</annotation>',
        '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><annotation>&f;</annotation>',
    ],
)
def test_an_image_whose_file_is_damaged_does_not_become_background(folder, damage):
    write_voc(folder)
    (folder / "Annotations" / "c.xml").write_text(damage)
    source = read_source(folder)
    assert [image["file_name"] for image in source.content["images"]] == ["a.png", "b.png", "d.png"]
    (item,) = source.report.findings[kinds.DAMAGED_LABEL_FILE]
    assert "c.xml" in item.description


def test_the_file_of_the_labels_own_name_counts_and_others_are_named(folder):
    write_voc(folder)
    label = folder / "Annotations" / "a.xml"
    label.write_text(voc_xml("b.png", *LABELS["a.png"]))
    source = read_source(folder)
    assert [image["file_name"] for image in source.content["images"]] == [*LABELS]
    assert source.report.count(kinds.OTHER_IMAGE_NAMED) == 1
    label.rename(folder / "Annotations" / "z.xml")  # now only what it says is there
    source = read_source(folder)
    assert sorted(image["file_name"] for image in source.content["images"]) == [
        "b.png", "b.png", "c.png", "d.png"
    ]  # fmt: skip


def test_a_label_without_its_image_is_counted(folder):
    write_voc(folder)
    (folder / "JPEGImages" / "b.png").unlink()
    source = read_source(folder)
    assert len(source.content["images"]) == 3
    assert source.report.count(kinds.LABEL_WITHOUT_IMAGE) == 1


def test_parts_are_the_lists_of_the_development_kit(folder, objects_of):
    write_voc(folder)
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nd\n")
    (lists / "val.txt").write_text("c\r\nb\r\nnowhere\r\n")
    (lists / "bee_train.txt").write_text("a  1\nd -1\n")
    assert part_names(folder) == ["train", "val"]
    train, val = (read_source(folder.with_name(f"given#{part}")) for part in ("train", "val"))
    assert list(objects_of(train)) == ["a.png", "d.png"]
    assert list(objects_of(val)) == ["b.png", "c.png"]
    assert val.report.count(kinds.UNLABELLED_IMAGE) == 1
    names = [[c["name"] for c in part.content["categories"]] for part in (train, val)]
    assert names[0] == names[1] == ["ant", "bee", "fly"], "one numbering for all parts"


@pytest.mark.parametrize(
    ("stem", "part"),
    [("valid", "val"), ("validation", "val"), ("dev", "val"), ("Train", "train"),
     ("training", "train"), ("Test", "test"), ("trainval", "trainval"), ("fold_1", "fold_1")],
)  # fmt: skip
def test_a_list_is_chosen_by_its_own_name_and_by_that_of_its_part(folder, objects_of, stem, part):
    write_voc(folder)
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / f"{stem}.txt").write_text("b\nc\n")
    (lists / "others.txt").write_text("a\nd\n")
    assert set(part_names(folder)) == {part, "others"}
    for named in (stem, part):
        assert list(objects_of(read_source(Path(f"{folder}#{named}")))) == ["b.png", "c.png"]


def test_a_list_may_begin_with_a_picture_named_1(folder):
    write_voc(folder)
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "fold_1.txt").write_text("1\nb\n")
    (lists / "bee_train.txt").write_text("a 1\nb -1\n")
    assert part_names(folder) == ["fold_1"]


def test_lists_of_one_part_are_read_together(folder, objects_of):
    write_voc(folder)
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for stem, names in (("val", "b\n"), ("valid", "b\nc\n"), ("train", "a\n")):
        (lists / f"{stem}.txt").write_text(names)
    assert part_names(folder) == ["train", "val"]
    assert list(objects_of(read_source(Path(f"{folder}#val")))) == ["b.png", "c.png"]


def test_parts_are_folders_named_after_them(folder, objects_of):
    for part, name in (("train", "a.png"), ("valid", "b.png")):
        draw(folder / part, {name: LABELS[name]})
        (folder / part / name).with_suffix(".xml").write_text(voc_xml(name, *LABELS[name]))
    assert part_names(folder) == ["train", "val"]
    val = read_source(folder.with_name("given#valid"))
    assert objects_of(val) == {"b.png": LABELS["b.png"][1]}
    assert [category["name"] for category in val.content["categories"]] == ["ant", "bee", "fly"]


def test_a_class_file_gives_names_and_order(folder):
    write_voc(folder)
    (folder / "classes.txt").write_text("fly\nant\n")
    source = read_source(folder)
    assert [c["name"] for c in source.content["categories"]] == ["fly", "ant"]
    assert source.report.count(kinds.UNKNOWN_CATEGORY) == 2, "both bees"
    assert len(source.content["annotations"]) == 4


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_names_are_read_in_any_encoding_that_the_xml_tells(folder, encoding):
    draw(folder, {"a.png": ((64, 48), [])})
    label = ONE.format("", 1, 2, 30, 40).replace("bee", "frêne")
    declared = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>'
    content = f"{declared}<annotation>{label}</annotation>"
    (folder / "a.xml").write_bytes(content.encode(encoding))
    assert [c["name"] for c in read_source(folder).content["categories"]] == ["frêne"]


@pytest.mark.parametrize("has_lists", [True, False])
def test_a_damaged_file_is_reported_for_its_own_part_alone(folder, has_lists):
    for part, name in (("train", "a"), ("train", "b"), ("val", "c")):
        place = folder if has_lists else folder / part
        draw(place, {f"{name}.png": ((64, 48), [])})
        (place / f"{name}.xml").write_text(f"<annotation>{ONE.format('', 1, 2, 30, 40)}")
    (folder / ("b.xml" if has_lists else "train/b.xml")).write_text(voc_xml("b.png", (64, 48), []))
    label = (folder if has_lists else folder / "val") / "c.xml"
    label.write_text(voc_xml("c.png", (64, 48), [("bee", (1, 2, 20, 20))]))
    if has_lists:
        (folder / "ImageSets" / "Main").mkdir(parents=True)
        for part, listed in (("train", "a\nb\n"), ("val", "c\n"), ("trainval", "a\nb\nc\n")):
            (folder / "ImageSets" / "Main" / f"{part}.txt").write_text(listed)
    reports = {part: read_source(Path(f"{folder}#{part}")).report for part in ("train", "val")}
    assert reports["train"].counts == {kinds.DAMAGED_LABEL_FILE: 1}
    assert not reports["val"].counts
