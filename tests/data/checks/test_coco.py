"""Every kind of dirt is counted and named; what is left is what COCO's tools can read."""

import json

import pytest
from PIL import Image

from dyhead.data.checks import check_coco, kinds, refuse_unusable
from dyhead.data.sources.coco import read_coco


def check(coco):
    path = coco.write()
    return check_coco(read_coco(path), path, coco.images)


def test_a_sound_file_passes_unchanged(coco):
    checked, report = check(coco)
    assert checked == coco.content
    assert not report.findings and not report.repaired


def dirty_missing_image(coco):
    (coco.images / "1.png").unlink()


def dirty_unreadable_image(coco):
    (coco.images / "1.png").write_bytes(b"no image at all")


def dirty_size(coco):
    coco.content["images"][0]["width"] += 1


def dirty_image_id(coco):
    coco.add_image(2, file_name="other.png")


def dirty_image_entry(coco):
    coco.content["images"].append({"file_name": "nameless.png"})


def dirty_annotation_entry(coco):
    coco.add_box(90, bbox=[1, 2, 3])


def dirty_nan_box(coco):
    coco.add_box(90, bbox=[1, 2, 3, float("nan")])


def dirty_unknown_image(coco):
    coco.add_box(90, image_id=77)


def dirty_category(coco):
    coco.add_box(90, category_id=4)


def dirty_zero_width(coco):
    coco.add_box(90, bbox=[5, 5, 0, 9])


def dirty_negative_height(coco):
    coco.add_box(90, bbox=[5, 5, 9, -2])


def dirty_one_pixel(coco):
    coco.add_box(90, bbox=[5, 5, 1, 1])


def dirty_outside(coco):
    coco.add_box(90, bbox=[60, 5, 9, 9])


def dirty_partly_outside(coco):
    coco.add_box(90, bbox=[55, 5, 9, 9])


def dirty_repeated(coco):
    coco.content["annotations"].append(dict(coco.content["annotations"][0]))


def dirty_annotation_id(coco):
    coco.add_box(1, bbox=[30, 20, 9, 9])


def dirty_annotation_zero(coco):
    coco.add_box(0, bbox=[30, 20, 9, 9])


@pytest.mark.parametrize(
    ("dirty", "kind", "images", "annotations"),
    [
        (dirty_missing_image, kinds.MISSING_IMAGE, 2, 2),
        (dirty_unreadable_image, kinds.UNREADABLE_IMAGE, 2, 2),
        (dirty_size, kinds.SIZE_MISMATCH, 2, 2),
        (dirty_image_id, kinds.DUPLICATE_IMAGE_ID, 3, 3),
        (dirty_image_entry, kinds.MALFORMED_IMAGE, 3, 3),
        (dirty_annotation_entry, kinds.MALFORMED_ANNOTATION, 3, 3),
        (dirty_nan_box, kinds.MALFORMED_ANNOTATION, 3, 3),
        (dirty_unknown_image, kinds.UNKNOWN_IMAGE, 3, 3),
        (dirty_category, kinds.UNKNOWN_CATEGORY, 3, 3),
        (dirty_zero_width, kinds.DEGENERATE_BOX, 3, 3),
        (dirty_negative_height, kinds.DEGENERATE_BOX, 3, 3),
        (dirty_one_pixel, kinds.DEGENERATE_BOX, 3, 3),
        (dirty_outside, kinds.OUTSIDE_BOX, 3, 3),
        (dirty_partly_outside, kinds.CLIPPED_BOX, 3, 4),
        (dirty_repeated, kinds.DUPLICATE_ANNOTATION, 3, 3),
        (dirty_annotation_id, kinds.RENUMBERED_ANNOTATION, 3, 4),
        (dirty_annotation_zero, kinds.RENUMBERED_ANNOTATION, 3, 4),
    ],
)
def test_each_kind_of_dirt_is_counted(coco, dirty, kind, images, annotations):
    dirty(coco)
    checked, report = check(coco)
    assert report.count(kind) == 1
    assert str(kind) in str(report)
    assert (len(checked["images"]), len(checked["annotations"])) == (images, annotations)
    identifiers = [annotation["id"] for annotation in checked["annotations"]]
    assert len(set(identifiers)) == len(identifiers) and min(identifiers) > 0
    lost = len(coco.content["annotations"]) - annotations
    assert sum(report.counts.values()) >= lost, "something vanished unreported"


def test_annotations_of_a_lost_image_are_counted_too(coco):
    dirty_missing_image(coco)
    coco.add_box(90, bbox=[3, 3, 9, 9])
    _, report = check(coco)
    assert report.count(kinds.LOST_IMAGE) == 2


def test_a_clipped_box_lies_in_its_image(coco):
    coco.add_box(90, bbox=[-4, 30, 20, 20], area=400)
    checked, _ = check(coco)
    clipped = checked["annotations"][-1]
    assert clipped["bbox"] == [0, 30, 16, 10]
    assert clipped["area"] == 160


def test_rounding_at_the_border_is_no_dirt(coco):
    coco.add_box(90, bbox=[50, 30, 10.4, 10.01])
    checked, report = check(coco)
    assert not report.findings
    assert checked["annotations"][-1]["bbox"] == [50, 30, 10.4, 10.01]


def test_the_report_names_the_first_few_offenders_only(coco):
    for number in range(90, 100):
        coco.add_box(number, bbox=[1, 1, 0, 0])
    _, report = check(coco)
    assert "10 x box without width" in str(report)
    assert "annotation 90 of 1.png" in str(report) and "annotation 92" in str(report)
    assert "annotation 93" not in str(report)


def test_crowd_stays_crowd(coco):
    coco.add_box(90, iscrowd=1)
    checked, report = check(coco)
    assert checked["annotations"][-1]["iscrowd"] == 1 and not report.repaired


def test_what_is_marked_ignore_becomes_a_counted_crowd(coco):
    coco.add_box(90, ignore=1)
    checked, report = check(coco)
    assert checked["annotations"][-1]["iscrowd"] == 1 and "ignore" not in checked["annotations"][-1]
    assert report.count(kinds.IGNORED_BOX) == 1


def test_masks_and_areas_that_are_no_numbers_do_no_harm(coco):
    coco.add_box(90, segmentation=[[1, 2]], area=None, iscrowd=None)
    checked, report = check(coco)
    last = checked["annotations"][-1]
    assert last["area"] == last["bbox"][2] * last["bbox"][3] and last["iscrowd"] == 0
    assert "segmentation" not in last and report.repaired


def test_what_exporters_leave_out_is_filled_in(coco):
    del coco.content["info"]
    for image in coco.content["images"]:
        del image["width"], image["height"]
    for annotation in coco.content["annotations"]:
        del annotation["area"], annotation["iscrowd"]
    checked, report = check(coco)
    assert report.repaired and not report.findings
    assert checked["images"][0]["width"] == 60 and checked["images"][0]["height"] == 40
    assert checked["annotations"][0]["area"] == 200 and checked["annotations"][0]["iscrowd"] == 0
    assert "info" in checked


def test_a_turned_photograph_has_the_size_it_is_shown_with(coco):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.new("RGB", (60, 40)).save(coco.images / "turned.jpg", exif=exif)
    coco.content["images"].append({"id": 4, "file_name": "turned.jpg", "width": 40, "height": 60})
    _, report = check(coco)
    assert not report.findings


def test_nothing_usable_is_found_and_can_be_refused(coco):
    for annotation in coco.content["annotations"]:
        annotation["bbox"][2] = 0
    checked, report = check(coco)
    assert checked["annotations"] == [] and report.count(kinds.NOTHING_USABLE) == 1
    with pytest.raises(ValueError, match=r"(?s)no usable annotations.*3 x box without width"):
        refuse_unusable(report)
    for image in coco.images.iterdir():
        image.unlink()
    checked, report = check(coco)
    assert checked["images"] == [] and report.count(kinds.NOTHING_USABLE) == 1
    with pytest.raises(ValueError, match=r"(?s)no usable images.*3 x image file missing"):
        refuse_unusable(report)


def test_what_is_usable_is_not_refused(coco):
    coco.content["annotations"][0]["bbox"][2] = 0
    refuse_unusable(check(coco)[1])


def test_a_missing_image_folder_is_one_error(coco):
    path = coco.write()
    with pytest.raises(ValueError, match="nowhere, the image folder of .*does not exist"):
        check_coco(read_coco(path), path, coco.folder / "nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no valid json"),
        ("[]", "not in COCO's instances format"),
        ('{"images": [], "annotations": []}', "no list 'categories'"),
        ('{"images": [], "annotations": [], "categories": []}', "names no categories"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "an 'id' and a 'name'"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": 5}]}',
            "an 'id' and a 'name'",
        ),
    ],
)
def test_what_is_not_coco_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "some.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"some.json.*{message}"):
        read_coco(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="nothing.json does not exist"):
        read_coco(tmp_path / "nothing.json")


@pytest.mark.parametrize("identifier", [None, 1.5, True, [1]])
def test_a_category_id_that_is_none_is_refused(coco, identifier):
    coco.content["categories"][0]["id"] = identifier
    with pytest.raises(ValueError, match="an 'id' and a 'name' .the id a whole number or text"):
        read_coco(coco.write())


def test_crowds_alone_are_kept_and_counted(coco):
    for annotation in coco.content["annotations"]:
        annotation["iscrowd"] = 1
    checked, report = check(coco)
    assert len(checked["annotations"]) == 3 and report.counts == {kinds.MANY_CROWDS: 3}


@pytest.mark.parametrize("listed", [None, []])
def test_a_set_without_ground_truth_is_no_fault(coco, listed):
    del coco.content["annotations"]
    if listed is not None:
        coco.content["annotations"] = listed
    checked, report = check_coco(read_coco(coco.write()), coco.write(), coco.images)
    assert checked["annotations"] == [] and not report.findings
    assert len(checked["images"]) == 3


def test_crowds_beside_broken_boxes_alone_are_refused_with_the_fault(coco):
    coco.content["annotations"][0]["iscrowd"] = 1
    for annotation in coco.content["annotations"][1:]:
        annotation["bbox"][2] = 0
    with pytest.raises(ValueError, match=r"(?s)no usable annotations.*2 x box without width"):
        refuse_unusable(check(coco)[1])


@pytest.mark.parametrize("key", ["images", "annotations"])
def test_no_refusal_calls_the_file_sound(coco, key):
    """A refusal that ends in "is sound" contradicts itself."""
    coco.content[key] = [] if key == "images" else [{"bbox": [0, 0, 9, 9]}]
    with pytest.raises(ValueError, match="lists no images|no usable annotations") as refusal:
        refuse_unusable(check(coco)[1])
    assert "is sound" not in str(refusal.value)


def test_categories_must_differ(coco):
    coco.content["categories"].append({"id": 3, "name": "cow"})
    path = coco.folder / "doubled.json"
    path.write_text(json.dumps(coco.content))
    with pytest.raises(ValueError, match="several categories with the id 3"):
        read_coco(path)
