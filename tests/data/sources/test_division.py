"""A set without parts of its own is divided into train and val, and nothing leaks across."""

import json
import random
import re

import numpy as np
import pytest
from PIL import Image

from dyhead.data.sources import Division, read_source
from dyhead.data.sources.division import _groups
from dyhead.errors import UserError


@pytest.fixture
def coco(folder):
    """Ten images that differ, with a box each."""
    content = {"categories": [{"id": 1, "name": "bee"}], "images": [], "annotations": []}
    for number in range(10):
        add(folder, content, f"{number}.png", number)
    return content


def add(folder, content, name, look):
    rng = np.random.default_rng(look)
    pixels = np.kron(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    Image.fromarray(pixels).save(folder / name)
    number = len(content["images"]) + 1
    content["images"].append({"id": number, "file_name": name, "width": 64, "height": 48})
    box = {"id": number, "image_id": number, "category_id": 1, "bbox": [1, 2, 30, 20]}
    content["annotations"].append(box)


def both(folder, content, **division):
    _groups.cache_clear()
    (folder / "all.json").write_text(json.dumps(content))
    parts = (
        read_source(folder / f"all.json#{part}", folder, Division(**division))
        for part in ("train", "val")
    )
    return tuple([image["file_name"] for image in part.content["images"]] for part in parts)


@pytest.mark.parametrize(("ratio", "count"), [(0.2, 2), (0.5, 5), (0.01, 1), (0.99, 9)])
def test_both_parts_are_the_whole_and_val_has_its_share(folder, coco, ratio, count):
    train, val = both(folder, coco, val_ratio=ratio)
    assert len(val) == count
    assert sorted([*train, *val]) == [f"{number}.png" for number in range(10)]


def test_boxes_go_with_their_images_and_classes_stay(folder, coco):
    (folder / "all.json").write_text(json.dumps(coco))
    for part in ("train", "val"):
        content = read_source(folder / f"all.json#{part}").content
        ids = [image["id"] for image in content["images"]]
        assert [annotation["image_id"] for annotation in content["annotations"]] == ids
        assert content["categories"] == coco["categories"]


@pytest.mark.parametrize("write", [float, str, int])
@pytest.mark.parametrize("key", ["images", "annotations"])
def test_boxes_go_with_images_whose_ids_are_written_in_another_form(folder, coco, write, key):
    for entry in coco[key]:
        field = "id" if key == "images" else "image_id"
        entry[field] = write(entry[field])
    (folder / "all.json").write_text(json.dumps(coco))
    for part in ("train", "val"):
        content = read_source(folder / f"all.json#{part}").content
        ids = [int(image["id"]) for image in content["images"]]
        assert [int(annotation["image_id"]) for annotation in content["annotations"]] == ids


def test_the_choice_follows_from_names_and_seed_and_not_from_an_order(folder, coco):
    train, val = both(folder, coco, seed=3)
    random.Random(0).shuffle(coco["images"])
    shuffled = both(folder, coco, seed=3)
    assert [sorted(part) for part in shuffled] == [sorted(train), sorted(val)]
    others = {tuple(sorted(both(folder, coco, seed=seed)[1])) for seed in range(6)}
    assert len(others) > 1


@pytest.mark.parametrize("seed", range(5))
def test_images_that_are_nearly_the_same_stay_together(folder, coco, seed):
    for number in range(5):  # each a little brighter than one that is there
        add(folder, coco, f"{number}_again.png", number)
        pixels = np.asarray(Image.open(folder / f"{number}.png")).astype(int) + 2
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}_again.png")
    train, val = both(folder, coco, val_ratio=0.4, seed=seed)
    assert len(val) in (5, 6)
    for part in (train, val):
        assert {f"{n}.png" in part for n in range(5) if f"{n}_again.png" in part} <= {True}


def test_a_set_of_nearly_one_image_cannot_be_divided(folder, coco):
    for number in range(1, 10):
        (folder / f"{number}.png").write_bytes((folder / "0.png").read_bytes())
    with pytest.raises(UserError, match="10 images that are nearly the same, too few for train"):
        both(folder, coco)


@pytest.mark.parametrize("ratio", [0, 1, -0.5, float("nan")])
def test_a_share_that_leaves_a_part_empty_is_refused(ratio):
    with pytest.raises(UserError, match=r"VAL_RATIO is .*: give a share from 0 to 1"):
        Division(ratio)


@pytest.mark.parametrize("name", ["\ud800.png", "a\0.png", "/", "x" * 300])
def test_names_that_no_file_can_have_do_not_stop_a_division(folder, coco, name):
    coco["images"][0]["file_name"] = name
    train, val = both(folder, coco)
    assert len(train) == 8 and len(val) == 2 and name in [*train, *val]


@pytest.mark.parametrize("write", ["set\\{}", "C:/me/{}", "./{}"])
def test_images_stay_together_whose_names_are_written_in_another_way(folder, coco, write):
    """The checks find their files, and so does the division."""
    for number in range(10):
        add(folder, coco, f"copy{number}.png", number)
    for image in coco["images"]:
        image["file_name"] = write.format(image["file_name"])
    train, val = both(folder, coco, val_ratio=0.3)
    assert len(val) == 6
    numbers = [{re.sub("[^0-9]", "", name) for name in part} for part in (train, val)]
    assert not numbers[0] & numbers[1]
