"""A label belongs to the picture of its own folders and name, and to no other of that name."""

import unicodedata
from pathlib import Path

import pytest
from label_files import draw, voc_xml

from dyhead.data.checks import CheckReport, kinds
from dyhead.data.sources import read_source
from dyhead.data.sources.picture_names import PictureNames

SIZE = (64, 48)
LARGE, SMALL = [("bee", (3, 4, 20, 16))], [("bee", (30, 10, 24, 30))]


@pytest.fixture
def report():
    return CheckReport("names")


@pytest.fixture
def names(folder, report):
    """Return a function that looks names up in a folder with some pictures."""

    def of(*files):
        for file in files:
            draw(folder / Path(file).parent, {Path(file).name: (SIZE, [])})
        return PictureNames(folder, report)

    return of


@pytest.mark.parametrize(
    ("picture", "name"),
    [
        ("cam1/1.png", "1.png"),
        ("1.png", "cam1/1.png"),
        ("1.png", "C:\\Users\\me\\cam1\\1.png"),
        ("cam1/1.png", "./all/../cam1/1.png"),
        ("train/images/1.png", "train/1.png"),
        ("cam1/1.png", "images/cam1/1.png"),
    ],
)
def test_folders_may_be_missing_in_front_or_too_many(names, report, picture, name):
    assert names(picture, "other/2.png").find(name) == picture
    assert not report.findings


def test_a_picture_of_the_same_name_in_another_folder_is_another_picture(names):
    found = names("cam1/1.png", "cam1/2.png")
    assert found.find("cam2/1.png") == found.find_for(Path("cam2/1.xml")) == ""
    assert found.find_for(Path("cam1/1.xml")) == "cam1/1.png"


def test_one_of_several_is_not_guessed(names):
    found = names("cam1/1.png", "cam2/1.png", "3.png", "3.jpg")
    assert (
        found.find("1.png") == found.find_for(Path("1.xml")) == found.find_for(Path("3.xml")) == ""
    )


def test_labels_in_a_folder_of_labels_belong_to_pictures_in_one_of_pictures(names):
    found = names("train/images/1.png", "val/images/1.png")
    assert found.find_for(Path("val/annotations/1.xml")) == "val/images/1.png"
    assert found.find_for(Path("train/xml/1.xml")) == "train/images/1.png"


def test_another_letter_case_or_form_of_unicode_is_found_and_counted_once(names, report):
    found = names(unicodedata.normalize("NFD", "größe.png"), "b.png")
    composed = unicodedata.normalize("NFC", "größe")
    assert found.find_for(Path(f"{composed}.xml")) == found.find(f"{composed}.png") != ""
    assert found.find("B.PNG") == "b.png"
    assert report.count(kinds.FILE_NAME) == 2


def test_labels_of_a_camera_whose_pictures_are_missing_are_left_out(folder, objects_of):
    """Nothing of them may go to the pictures of the same names by another camera."""
    draw(folder / "images" / "cam1", {"1.png": (SIZE, LARGE)})
    for camera, objects in (("cam1", LARGE), ("cam2", SMALL)):
        (folder / "Annotations" / camera).mkdir(parents=True)
        (folder / "Annotations" / camera / "1.xml").write_text(voc_xml("1.png", SIZE, objects))
    source = read_source(folder)
    assert objects_of(source) == {"1.png": LARGE}
    assert source.report.count(kinds.LABEL_WITHOUT_IMAGE) == 1
