"""A sound labelled folder, and for every kind of problem a function that plants it there.

`PLANTERS` and the table of `planted_label_faults` have one for every kind that the checks know: a
new kind without one fails a test.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from dyhead.data.checks import Kind, kinds

WIDTH, HEIGHT = 96, 72
CLASSES = ("ant", "bee", "fly")


class LabelledSet:
    """A COCO json and its pictures: each has a box of every class, and looks like no other."""

    def __init__(self, folder: Path, name: str, num_images: int, seed: int) -> None:
        self.path = folder / f"{name}.json"
        self.images = folder / f"{name}_images"
        self.images.mkdir(parents=True)
        self._random = np.random.default_rng(seed)
        self._next = 0
        self.content: dict[str, Any] = {
            "info": {},
            "images": [],
            "annotations": [],
            "categories": [{"id": i, "name": each} for i, each in enumerate(CLASSES, start=1)],
        }
        for number in range(1, num_images + 1):
            self.add_image(number)
            for category in range(1, len(CLASSES) + 1):
                x, y = 4 + 30 * (category - 1), 8 + self._random.integers(0, 20)
                self.add_box(number, [x, int(y), 20 + category, 24], category)

    def add_image(self, number: int, file_name: str = "") -> dict[str, Any]:
        name = file_name or f"{number:03}.png"
        self.draw().save(self.images / name)
        entry = {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
        self.content["images"].append(entry)
        return entry

    def draw(self, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
        """Coarse random colours: no two pictures are alike, even when they are made small."""
        coarse = self._random.integers(0, 256, (9, 12, 3), np.uint8)
        return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)

    def add_box(self, image_id: Any, box: list, category: Any = 1, **more: Any) -> dict[str, Any]:
        number = len(self.content["annotations"]) + 1
        entry = {"id": number, "image_id": image_id, "category_id": category, "bbox": box}
        area = box[2] * box[3] if len(box) == 4 else 1
        self.content["annotations"].append({**entry, "area": area, "iscrowd": 0, **more})
        return self.content["annotations"][-1]

    def take_image(self) -> dict[str, Any]:
        """Give the next picture that nothing was planted in."""
        self._next += 1
        return self.content["images"][self._next - 1]

    def boxes_of(self, image: dict[str, Any]) -> list[dict[str, Any]]:
        return [a for a in self.content["annotations"] if a["image_id"] == image["id"]]

    def take_box(self) -> dict[str, Any]:
        """Give the first box of the next picture that nothing was planted in."""
        return self.boxes_of(self.take_image())[0]

    def save(self, picture: Image.Image, **options: Any) -> dict[str, Any]:
        """Add a picture, as a JPEG where options for it are given, and give its entry."""
        number = 1000 + len(self.content["images"])
        entry = self.add_image(number, f"{number}.{'jpg' if options else 'png'}")
        picture.save(self.images / entry["file_name"], **options)
        return entry

    def write(self) -> Path:
        self.path.write_text(json.dumps(self.content))
        return self.path


class LabelledFolder:
    """A training and a validation set."""

    def __init__(self, folder: Path, num_images: int = 60) -> None:
        self.train = LabelledSet(folder, "train", num_images, seed=1)
        self.val = LabelledSet(folder, "val", 6, seed=2)

    def add_category(self, number: int, name: str) -> None:
        """Add a category to both sets, and a box of it to the one for validation."""
        for each in (self.train, self.val):
            each.content["categories"].append({"id": number, "name": name})
        self.val.add_box(1, [40 + number, 46, 20, 20], number)

    def write(self) -> list[Path]:
        return [self.train.write(), self.val.write()]


@dataclass(frozen=True)
class Planter:
    """Plants a kind of problem.

    Attributes:
        kind: what is planted.
        plant: changes a sound folder; returns how many items then have the problem.
        consequences: kinds that follow from it.
        is_of_whole_set: it changes most of a set, which leaves no room for others.
    """

    kind: Kind
    plant: Callable[[LabelledFolder], int]
    consequences: tuple[Kind, ...] = ()
    is_of_whole_set: bool = False


PLANTERS: dict[str, Planter] = {}


def plants(kind: Kind, *consequences: Kind, is_of_whole_set: bool = False) -> Callable:
    """Enter a function into the table."""

    def enter(plant: Callable[[LabelledFolder], int]) -> Callable:
        PLANTERS[kind.name] = Planter(kind, plant, consequences, is_of_whole_set)
        return plant

    return enter


@plants(kinds.MISSING_IMAGE, kinds.LOST_IMAGE)
def missing_image(folder: LabelledFolder) -> int:
    (folder.train.images / folder.train.take_image()["file_name"]).unlink()
    return 1


@plants(kinds.UNREADABLE_IMAGE, kinds.LOST_IMAGE)
def unreadable_image(folder: LabelledFolder) -> int:
    (folder.train.images / folder.train.take_image()["file_name"]).write_bytes(b"no picture")
    return 1


@plants(kinds.UNDECODABLE_PICTURE)
def pixels_cut_off(folder: LabelledFolder) -> int:
    """Plant a JPEG whose copy was not finished."""
    entry = folder.train.save(folder.train.draw(), quality=95)
    path = folder.train.images / entry["file_name"]
    path.write_bytes(path.read_bytes()[:-500])
    return 1


@plants(kinds.SIZE_MISMATCH, kinds.LOST_IMAGE)
def other_size(folder: LabelledFolder) -> int:
    folder.train.take_image()["width"] += 7
    return 1


@plants(kinds.FILE_NAME)
def foreign_path(folder: LabelledFolder) -> int:
    image = folder.train.take_image()
    image["file_name"] = "C:\\photos\\" + image["file_name"]
    return 1


@plants(kinds.OUTSIDE_FOLDER, kinds.LOST_IMAGE)
def name_that_leads_outside(folder: LabelledFolder) -> int:
    folder.train.draw().save(folder.train.path.parent / "elsewhere.png")
    folder.train.take_image()["file_name"] = "../elsewhere.png"
    return 1


@plants(kinds.LISTED_TWICE)
def file_listed_twice(folder: LabelledFolder) -> int:
    image = folder.train.take_image()
    folder.train.content["images"].append({**image, "id": 9003})
    return 1


@plants(kinds.SAME_PICTURE)
def copied_picture(folder: LabelledFolder) -> int:
    shutil.copy(
        _file_of(folder.train), folder.train.images / folder.train.save(_blank())["file_name"]
    )
    return 1


@plants(kinds.SIMILAR_PICTURE)
def picture_saved_anew(folder: LabelledFolder) -> int:
    with Image.open(_file_of(folder.train)) as picture:
        folder.train.save(picture, quality=90)
    return 1


@plants(kinds.LEAKED_PICTURE)
def picture_in_both_sets(folder: LabelledFolder) -> int:
    entry = folder.val.save(_blank())
    shutil.copy(_file_of(folder.train), folder.val.images / entry["file_name"])
    return 1


@plants(kinds.SIMILAR_LEAK)
def picture_saved_anew_in_the_other_set(folder: LabelledFolder) -> int:
    with Image.open(_file_of(folder.train)) as picture:
        folder.val.save(picture, quality=90)
    return 1


def _file_of(labelled: LabelledSet) -> Path:
    return labelled.images / labelled.take_image()["file_name"]


def _blank() -> Image.Image:
    return Image.new("RGB", (WIDTH, HEIGHT))


@plants(kinds.DEEP_PICTURE)
def picture_of_16_bits(folder: LabelledFolder) -> int:
    with Image.open(file := _file_of(folder.train)) as picture:
        grey = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(file)
    return 1


@plants(kinds.SENSOR_RASTER)
def labels_of_the_unturned_picture(folder: LabelledFolder) -> int:
    folder.train.save(folder.train.draw(), quality=95, exif=_orientation(6))
    return 1


@plants(kinds.TURNED_SAME_SIZE)
def picture_on_its_head(folder: LabelledFolder) -> int:
    folder.train.save(folder.train.draw(), quality=95, exif=_orientation(3))
    return 1


def _orientation(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = number
    return exif


@plants(kinds.DUPLICATE_IMAGE_ID)
def image_id_twice(folder: LabelledFolder) -> int:
    folder.train.add_image(folder.train.take_image()["id"], "same_id.png")
    return 1


@plants(kinds.MALFORMED_IMAGE)
def image_without_name(folder: LabelledFolder) -> int:
    folder.train.content["images"].append({"id": 9001})
    return 1


@plants(kinds.MALFORMED_ANNOTATION)
def box_of_three_numbers(folder: LabelledFolder) -> int:
    folder.train.take_box()["bbox"] = [1, 2, 3]
    return 1


@plants(kinds.LOST_IMAGE, kinds.MISSING_IMAGE)
def boxes_of_a_lost_image(folder: LabelledFolder) -> int:
    image = folder.train.take_image()
    (folder.train.images / image["file_name"]).unlink()
    return len(folder.train.boxes_of(image))


@plants(kinds.UNKNOWN_IMAGE)
def unknown_image(folder: LabelledFolder) -> int:
    folder.train.add_box(9002, [5, 5, 20, 20])
    return 1


@plants(kinds.UNKNOWN_CATEGORY)
def unknown_category(folder: LabelledFolder) -> int:
    folder.train.take_box()["category_id"] = 77
    return 1


@plants(kinds.DEGENERATE_BOX)
def box_without_width(folder: LabelledFolder) -> int:
    folder.train.take_box()["bbox"][2] = 0
    return 1


@plants(kinds.OUTSIDE_BOX)
def box_outside(folder: LabelledFolder) -> int:
    folder.train.take_box()["bbox"][0] = WIDTH + 10
    return 1


@plants(kinds.CLIPPED_BOX)
def box_partly_outside(folder: LabelledFolder) -> int:
    folder.train.take_box()["bbox"][0] = WIDTH - 10
    return 1


@plants(kinds.IGNORED_BOX)
def ignored_box(folder: LabelledFolder) -> int:
    folder.train.take_box()["ignore"] = 1
    return 1


@plants(kinds.DUPLICATE_ANNOTATION)
def annotation_twice(folder: LabelledFolder) -> int:
    folder.train.content["annotations"].append(dict(folder.train.take_box()))
    return 1


@plants(kinds.RENUMBERED_ANNOTATION)
def annotation_id_zero(folder: LabelledFolder) -> int:
    folder.train.take_box()["id"] = 0
    return 1


@plants(kinds.INTERNAL_ID)
def long_id(folder: LabelledFolder) -> int:
    folder.train.take_box()["id"] = 2**60
    return 1


@plants(kinds.NUMBER_AS_TEXT)
def number_in_quotes(folder: LabelledFolder) -> int:
    box = folder.train.take_box()
    box["bbox"] = [str(value) for value in box["bbox"]]
    return 1


@plants(kinds.UNCLEAR_FLAG)
def unclear_flag(folder: LabelledFolder) -> int:
    folder.train.take_box()["iscrowd"] = 2
    return 1


@plants(kinds.WRONG_AREA)
def negative_area(folder: LabelledFolder) -> int:
    folder.train.take_box()["area"] = -5
    return 1


@plants(kinds.BOX_FROM_SEGMENTATION)
def polygon_alone(folder: LabelledFolder) -> int:
    box = folder.train.take_box()
    x, y, width, height = box.pop("bbox")
    box["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    return 1


@plants(kinds.CORNER_BOXES, kinds.CLIPPED_BOX, kinds.OUTSIDE_BOX, is_of_whole_set=True)
def corners(folder: LabelledFolder) -> int:
    for annotation in folder.train.content["annotations"]:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x, y, x + width, y + height]
        del annotation["area"]
    boxes = [annotation["bbox"] for annotation in folder.train.content["annotations"]]
    return sum(x + right > WIDTH + 0.5 or y + low > HEIGHT + 0.5 for x, y, right, low in boxes)


@plants(kinds.FRACTION_BOXES, kinds.DEGENERATE_BOX, is_of_whole_set=True)
def fractions(folder: LabelledFolder) -> int:
    changed = folder.train.content["annotations"][:-3]  # something usable stays
    for annotation in changed:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = [x / WIDTH, y / HEIGHT, width / WIDTH, height / HEIGHT]
        del annotation["area"]
    return len(changed)


@plants(kinds.MANY_CROWDS, is_of_whole_set=True)
def crowds(folder: LabelledFolder) -> int:
    marked = folder.train.content["annotations"][::4]
    for annotation in marked:
        annotation["iscrowd"] = 1
    return len(marked)


@plants(kinds.NOTHING_USABLE, kinds.DEGENERATE_BOX, is_of_whole_set=True)
def no_box_with_a_width(folder: LabelledFolder) -> int:
    for annotation in folder.train.content["annotations"]:
        annotation["bbox"][2] = 0
    return 1


@plants(kinds.SAME_BOX)
def same_box(folder: LabelledFolder) -> int:
    box = folder.train.take_box()
    folder.train.add_box(box["image_id"], box["bbox"], box["category_id"])
    return 1


@plants(kinds.SAME_BOX_OTHER_CLASS)
def same_box_of_another_class(folder: LabelledFolder) -> int:
    box = folder.train.take_box()
    folder.train.add_box(box["image_id"], box["bbox"], box["category_id"] + 1)
    return 1


@plants(kinds.EMPTY_CATEGORY)
def empty_category(folder: LabelledFolder) -> int:
    folder.add_category(9, "gnat")
    return 1


@plants(kinds.SIMILAR_CATEGORIES)
def similar_categories(folder: LabelledFolder) -> int:
    folder.add_category(10, "ANT ")
    folder.train.add_box(folder.train.take_image()["id"], [70, 40, 20, 20], 10)
    return 2


@plants(kinds.OTHER_CLASSES, is_of_whole_set=True)
def classes_in_another_order(folder: LabelledFolder) -> int:
    first, second, _ = folder.val.content["categories"]
    first["name"], second["name"] = second["name"], first["name"]
    return 1


@plants(kinds.NOTHING_TO_LEARN, is_of_whole_set=True)
def training_set_without_labels(folder: LabelledFolder) -> int:
    folder.train.content["annotations"] = []
    return 1


@plants(kinds.NO_GROUND_TRUTH, is_of_whole_set=True)
def validation_set_without_labels(folder: LabelledFolder) -> int:
    del folder.val.content["annotations"]
    return 1


@plants(kinds.SMALL_BOX)
def box_below_the_stride(folder: LabelledFolder) -> int:
    box = folder.train.take_box()
    box["bbox"][2:], box["area"] = [1.25, 1.25], 1.5625
    return 1


@plants(kinds.CROWDED_IMAGE)
def many_objects(folder: LabelledFolder) -> int:
    image = folder.train.take_image()
    for i in range(120):
        folder.train.add_box(image["id"], [i % 12 * 7 + 1, i // 12 * 5 + 1, 6, 5])
    return 1
