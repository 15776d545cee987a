"""Files are found by the names that tools write, and EXIF's turns are named."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image
from stored_pictures import STORED, save_turned, write_deep_png

from dyhead.data.checks import check_coco, kinds
from dyhead.data.image_files import files_below


def check(coco, **options):
    return check_coco(coco.content, coco.write(), coco.images, **options)


def rename(coco, number, file_name, name_in_json):
    path = coco.images / file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    (coco.images / f"{number}.png").rename(path)
    coco.content["images"][number - 1]["file_name"] = name_in_json


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "größe.png") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("file_name", "name_in_json"),
    [
        ("a/b.png", "a\\b.png"),
        ("b.png", "images\\b.png"),
        ("my b.png", "my%20b.png"),
        (DECOMPOSED, COMPOSED),
        (COMPOSED, DECOMPOSED),
        ("B.PNG", "b.png"),
        ("a/b.png", "b.png"),
        ("b.png", "train/images/b.png"),
        ("a/b.png", "C:\\Users\\me\\a\\b.png"),
        ("b.png", "/home/me/set/b.png"),
        ("b.png", "../images/b.png/../b.png"),
    ],
)
def test_the_only_file_that_fits_is_used(coco, file_name, name_in_json):
    rename(coco, 1, file_name, name_in_json)
    if (coco.images / name_in_json).exists():
        pytest.skip("this file system takes both for one name")
    checked, report = check(coco)
    assert checked["images"][0]["file_name"] == file_name
    assert report.count(kinds.FILE_NAME) == 1 and len(checked["annotations"]) == 3
    assert f"{name_in_json}, id 1: {file_name}" in str(report)


def test_a_file_that_is_there_under_its_name_is_used_as_it_is(coco):
    rename(coco, 1, "my%20b.png", "my%20b.png")
    Image.new("RGB", (9, 9)).save(coco.images / "my b.png")
    checked, report = check(coco)
    assert checked == coco.content and not report.findings


def test_of_several_files_that_fit_none_is_used_and_all_are_named(coco):
    rename(coco, 1, "a/b.png", "b.png")
    (coco.images / "c").mkdir()
    Image.new("RGB", (60, 40)).save(coco.images / "c" / "b.png")
    _, report = check(coco)
    assert report.count(kinds.MISSING_IMAGE) == 1
    assert "b.png, id 1: is a/b.png or c/b.png meant?" in str(report)


def test_more_folders_in_common_decide_between_files(coco):
    rename(coco, 1, "a/b.png", "set\\a\\b.png")
    Image.new("RGB", (60, 40)).save(coco.images / "b.png")
    checked, _ = check(coco)
    assert checked["images"][0]["file_name"] == "a/b.png"


def test_two_names_do_not_share_a_file(coco):
    rename(coco, 1, "b.png", "cam1/b.png")
    coco.content["images"][1]["file_name"] = "cam2/b.png"
    _, report = check(coco)
    assert report.count(kinds.MISSING_IMAGE) == 2 and report.count(kinds.FILE_NAME) == 0


def test_a_file_of_another_image_is_not_taken(coco):
    coco.content["images"][0]["file_name"] = "old/2.png"
    _, report = check(coco)
    assert report.count(kinds.MISSING_IMAGE) == 1 and report.count(kinds.FILE_NAME) == 0


def test_a_similar_name_is_only_named(coco):
    rename(coco, 1, "photo_001.jpeg", "photo_001.jpg")
    _, report = check(coco)
    assert report.count(kinds.MISSING_IMAGE) == 1
    assert "photo_001.jpg, id 1: is photo_001.jpeg meant?" in str(report)


@pytest.mark.parametrize("is_absolute", [True, False])
def test_names_that_lead_outside_are_refused_unless_allowed(coco, is_absolute):
    outside = coco.folder / "outside.png"
    (coco.images / "1.png").rename(outside)
    name = str(outside) if is_absolute else "../outside.png"
    coco.content["images"][0]["file_name"] = name
    checked, report = check(coco)
    assert report.count(kinds.OUTSIDE_FOLDER) == 1 and len(checked["images"]) == 2
    checked, report = check(coco, allow_outside=True)
    assert checked["images"][0]["file_name"] == name and not report.findings


@pytest.mark.parametrize("is_there", [True, False])
def test_other_files_are_suggested_for_a_name_outside_only_if_nothing_is_there(coco, is_there):
    (coco.images / "1.png").rename(coco.images / "photo_1.png")
    if is_there:
        Image.new("RGB", (60, 40)).save(coco.folder / "photo_2.png")
    coco.content["images"][0]["file_name"] = "../photo_2.png"
    _, report = check(coco)
    assert report.count(kinds.OUTSIDE_FOLDER) == 1
    assert ("photo_1.png meant?" in str(report)) != is_there


def test_links_within_the_folder_are_followed(coco):
    (coco.images / "1.png").rename(coco.folder / "elsewhere.png")
    (coco.images / "1.png").symlink_to(coco.folder / "elsewhere.png")
    _, report = check(coco)
    assert not report.findings


@pytest.mark.parametrize("name", ["1.png", "old/1.png", "1.PNG"])
def test_a_link_to_no_file_is_a_missing_image_and_no_other_names_file(coco, name):
    (coco.images / "1.png").unlink()
    (coco.images / "1.png").symlink_to(coco.folder / "gone.png")
    coco.content["images"][0]["file_name"] = name
    _, report = check(coco)
    assert report.counts == {kinds.MISSING_IMAGE: 1, kinds.LOST_IMAGE: 1}
    assert "1.png meant" not in str(report)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes")
def test_a_pipe_is_no_picture(coco):
    (coco.images / "1.png").unlink()
    os.mkfifo(coco.images / "1.png")
    _, report = check(coco)
    assert report.count(kinds.UNREADABLE_IMAGE) == 1 and "named pipe" in str(report)


def test_a_null_character_in_a_name_is_no_readable_file(coco):
    coco.content["images"][0]["file_name"] = "a\0.png"
    _, report = check(coco)
    assert report.count(kinds.UNREADABLE_IMAGE) == 1 and "null" in str(report)


def test_files_that_are_listed_twice_are_counted_once_each(coco):
    coco.content["images"].append({**coco.content["images"][0], "id": 8})
    coco.content["images"].append({**coco.content["images"][0], "id": 9, "file_name": "./1.png"})
    checked, report = check(coco)
    assert report.count(kinds.LISTED_TWICE) == 1 and len(checked["images"]) == 5
    assert "1.png, ids 1, 8, 9" in str(report)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_labels_of_the_unturned_picture_are_turned_with_it(coco, orientation):
    shown = np.zeros((40, 60), np.uint8)
    shown[6:16, 5:25] = 255  # the box of the fixture
    save_turned(shown, orientation, coco.images / "1.png")
    rows, columns = np.nonzero(STORED[orientation](shown))
    x, y = int(columns.min()), int(rows.min())
    coco.content["images"][0].update(width=40, height=60)
    coco.content["annotations"][0]["bbox"] = [x, y, 10, 20]
    checked, report = check(coco)
    assert report.count(kinds.SENSOR_RASTER) == 1 and "EXIF" in str(report)
    assert checked["annotations"][0]["bbox"] == [5, 6, 20, 10]
    image = checked["images"][0]
    assert (image["width"], image["height"]) == (60, 40)
    assert coco.content["annotations"][0]["bbox"] == [x, y, 10, 20], "the source's own"


def test_boxes_from_polygons_and_numbers_in_quotes_are_turned_too(coco):
    save_turned(np.zeros((40, 60), np.uint8), 6, coco.images / "1.png")  # stored 40 x 60
    coco.content["images"][0].update(width="40", height="60", id="1")
    polygon = [[6, 35, 16, 35, 16, 55, 6, 55]]
    coco.content["annotations"][0].update(bbox=["6", "35", "10", "20"], image_id="1")
    coco.add_box(90, bbox=[0, 0, 0, 0], segmentation=polygon, area=200)
    coco.content["annotations"][-1]["image_id"] = "1"
    checked, report = check(coco)
    boxes = [a["bbox"] for a in checked["annotations"] if a["image_id"] == 1]
    assert boxes == [[5, 6, 20, 10], [5, 6, 20, 10]] and report.count(kinds.SENSOR_RASTER) == 1
    coco.content["annotations"][-1]["segmentation"] = polygon[0]  # without the list around it
    again, _ = check(coco)
    assert again["annotations"][-1]["bbox"] == [5, 6, 20, 10]


def test_labels_of_the_picture_as_shown_stay(coco):
    save_turned(np.zeros((40, 60), np.uint8), 6, coco.images / "1.png")
    checked, report = check(coco)
    assert checked == coco.content and not report.findings


@pytest.mark.parametrize(("orientation", "size"), [(6, (50, 50)), (3, (60, 40))])
def test_pictures_that_keep_their_size_when_turned_are_noted(coco, orientation, size):
    save_turned(np.zeros(size[::-1], np.uint8), orientation, coco.images / "1.png")
    coco.content["images"][0].update(width=size[0], height=size[1])
    checked, report = check(coco)
    assert report.count(kinds.TURNED_SAME_SIZE) == 1 and not report.has_faults
    assert checked["annotations"] == coco.content["annotations"]


def test_deep_pictures_are_noted(coco):
    write_deep_png(np.full((40, 60, 1), 3000), coco.images / "1.png")
    write_deep_png(np.full((40, 60, 3), 3000), coco.images / "2.png")
    _, report = check(coco)
    assert report.count(kinds.DEEP_PICTURE) == 2 and not report.has_faults


def test_progress_ends_with_all_files(coco):
    calls = []
    check(coco, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (3, 3)


def test_misspelt_names_are_looked_for_behind_links_to_folders(coco, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    rename(coco, 1, disk / "a.png", "cam1\\a.png")
    (coco.images / "cam1").symlink_to(disk, target_is_directory=True)
    (disk / "loop").symlink_to(coco.images, target_is_directory=True)
    checked, report = check(coco)
    assert checked["images"][0]["file_name"] == "cam1/a.png"
    assert report.count(kinds.FILE_NAME) == 1


def test_a_folder_keeps_its_own_name_beside_a_link_to_it(coco):
    rename(coco, 1, "b/x.png", "b\\X.PNG")
    (coco.images / "a").symlink_to(coco.images / "b", target_is_directory=True)
    assert check(coco)[0]["images"][0]["file_name"] == "b/x.png"
    below = {path.relative_to(coco.images).parts[0] for path in files_below(coco.images, (".png",))}
    assert "b" in below and "a" not in below
