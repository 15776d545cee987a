"""CVAT's XML for images: its shapes, subsets and labels."""

from pathlib import Path

import pytest
from label_files import draw, write_cvat

from dyhead.data.checks import check_coco, kinds
from dyhead.data.sources import part_names, read_source
from dyhead.errors import UserError

META = "<meta><task><labels><label><name>bee</name></label></labels></task></meta>"


def write(folder, content, meta=META):
    draw(folder, {"a.png": ((64, 48), [])})
    image = f'<image id="0" name="a.png" width="64" height="48">\n{content}</image>'
    (folder / "annotations.xml").write_text(f"<annotations>{meta}{image}</annotations>")
    return folder / "annotations.xml"


def boxes(source):
    return [pytest.approx(annotation["bbox"]) for annotation in source.content["annotations"]]


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ('<box label="bee" xtl="1.5" ytl="2" xbr="11" ybr="22.25"/>', [1.5, 2, 9.5, 20.25]),
        ('<polygon label="bee" points="10,10;30.5,12;20,40"/>', [10, 10, 20.5, 30]),
        ('<ellipse label="bee" cx="20" cy="20" rx="10" ry="5"/>', [10, 15, 20, 10]),
        ('<ellipse label="bee" cx="20" cy="20" rx="10" ry="5" rotation="90"/>', [15, 10, 10, 20]),
        ('<mask label="bee" rle="3, 9" left="4" top="5" width="6" height="2"/>', [4, 5, 6, 2]),
        ('<box label="bee" xtl="10" ytl="15" xbr="30" ybr="25" rotation="90"/>', [15, 10, 10, 20]),
    ],
)
def test_shapes_count_by_the_boxes_around_them(folder, shape, box):
    source = read_source(write(folder, shape))
    assert boxes(source) == [box]
    assert source.report.count(kinds.ROTATED_BOX) == shape.startswith("<box") * ("rot" in shape)


def test_points_and_lines_are_left_out_and_counted(folder):
    shapes = '<points label="bee" points="1,2"/><polyline label="bee" points="1,2;3,4"/><tag/>'
    source = read_source(write(folder, shapes))
    assert not source.content["annotations"]
    assert source.report.count(kinds.NOT_A_BOX) == 2


@pytest.mark.parametrize(
    "shape",
    [
        '<box label="bee" xtl="1" ytl="2" xbr="x" ybr="22"/>',
        '<box xtl="1" ytl="2" xbr="9" ybr="9"/>',
        '<polygon label="bee" points="1,2;3"/>',
        '<polygon label="bee" points=""/>',
    ],
)
def test_a_shape_that_cannot_be_read_is_named_by_its_line(folder, shape):
    source = read_source(write(folder, shape))
    assert not source.content["annotations"]
    (item,) = source.report.findings[kinds.DAMAGED_LABEL]
    assert "annotations.xml, line 2" in item.description


def test_labels_of_the_task_are_all_classes_and_others_are_unknown(folder):
    two = META.replace("</label>", "</label><label><name>ant</name></label>")
    source = read_source(write(folder, '<box label="fly" xtl="1" ytl="2" xbr="9" ybr="9"/>', two))
    assert [c["name"] for c in source.content["categories"]] == ["bee", "ant"]
    assert source.report.count(kinds.UNKNOWN_CATEGORY) == 1


def test_parts_are_the_subsets_of_a_project(folder, objects_of):
    path = write_cvat(folder)
    text = path.read_text()
    for name, subset in (("a", "Train"), ("b", "Train"), ("c", "Validation"), ("d", "spare")):
        text = text.replace(f'name="{name}.png"', f'name="{name}.png" subset="{subset}"')
    path.write_text(text)
    assert part_names(path) == ["train", "val", "spare"]
    assert list(objects_of(read_source(folder / "annotations.xml#val"))) == ["c.png"]


def test_videos_and_other_xml_are_refused(folder):
    path = write(folder, "")
    for text in ("<annotations><track/></annotations>", "<svg/>"):
        path.write_text(text)
        with pytest.raises(UserError, match="export it from CVAT in the format 'CVAT for images'"):
            read_source(path)
    path.write_text("<annotations>\n<image>")
    with pytest.raises(UserError, match="no well-formed XML .*line 2"):
        read_source(path)
    path.write_text('<!DOCTYPE x [<!ENTITY y "z">]><annotations>&y;</annotations>')
    with pytest.raises(UserError, match="has a document type"):
        read_source(path)


def test_pictures_of_one_name_in_two_subsets_are_told_apart(folder):
    """CVAT writes the pictures of a subset into a folder of its name."""
    box = '<box label="bee" xtl="{0}" ytl="6" xbr="{1}" ybr="26"/>'
    images = ""
    for subset, left in (("Train", 5), ("Val", 30)):
        draw(folder / "images" / subset, {"a.png": ((64, 48), [])})
        shape = box.format(left, left + 20)
        images += f'<image name="a.png" subset="{subset}" width="64" height="48">{shape}</image>'
    (folder / "annotations.xml").write_text(f"<annotations>{images}</annotations>")
    for part, name, left in (("train", "Train/a.png", 5), ("val", "Val/a.png", 30)):
        content = read_source(Path(f"{folder}#{part}")).content
        assert [image["file_name"] for image in content["images"]] == [name]
        assert [annotation["bbox"] for annotation in content["annotations"]] == [[left, 6, 20, 20]]


def test_a_missing_picture_is_not_that_of_another_subset(folder):
    draw(folder / "images" / "Train", {"a.png": ((64, 48), [])})
    box = '<box label="bee" xtl="5" ytl="6" xbr="25" ybr="26"/>'
    image = '<image name="a.png" subset="{}" width="64" height="48">{}</image>'
    images = "".join(image.format(subset, box) for subset in ("Train", "Val"))
    (folder / "annotations.xml").write_text(f"<annotations>{images}</annotations>")
    source = read_source(Path(f"{folder}#val"))
    checked, report = check_coco(
        source.content, source.path, source.image_root, report=source.report
    )
    assert not checked["images"] and report.count(kinds.MISSING_IMAGE) == 1


def test_the_points_of_skeletons_are_no_classes(folder):
    names = ("<name>bird</name>", "<name>1</name><parent>bird</parent>")
    names += ("<name>cow</name>", "<name>1</name><parent>cow</parent>")
    labels = "".join(f"<label>{name}</label>" for name in names)
    text = f"<annotations><meta><task><labels>{labels}</labels></task></meta></annotations>"
    (folder / "annotations.xml").write_text(text)
    categories = read_source(folder).content["categories"]
    assert [category["name"] for category in categories] == ["bird", "cow"]
