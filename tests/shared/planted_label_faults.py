"""For every kind of problem that labels of other formats than COCO's have, a set that has it.

Each function writes a data set with the problem into a folder and returns the path to name.
"""

import json
from collections.abc import Callable
from pathlib import Path

from label_files import (
    CLASSES,
    label_studio_task,
    voc_xml,
    write_cvat,
    write_label_studio,
    write_voc,
    write_yolo,
)
from label_files import LABELS as WRITTEN

from dyhead.data.checks import Kind, kinds

LABEL_PLANTERS: dict[str, Callable[[Path], Path]] = {}


def plants(kind: Kind) -> Callable:
    """Enter a function, which plants one problem of a kind, into the table."""

    def enter(plant: Callable[[Path], Path]) -> Callable:
        LABEL_PLANTERS[kind.name] = plant
        return plant

    return enter


@plants(kinds.DAMAGED_LABEL)
def line_of_pixels(folder: Path) -> Path:
    path = write_yolo(folder)
    with open(folder / "labels" / "train" / "a.txt", "a") as file:
        file.write("0 24 30 12 16\n")
    return path


@plants(kinds.DAMAGED_LABEL_FILE)
def file_cut_short(folder: Path) -> Path:
    write_voc(folder)
    label = folder / "Annotations" / "a.xml"
    label.write_text(label.read_text()[:-40])
    return folder


@plants(kinds.LABEL_WITHOUT_IMAGE)
def lonely_label(folder: Path) -> Path:
    write_voc(folder)
    (folder / "Annotations" / "z.xml").write_text(voc_xml("z.png", *WRITTEN["a.png"]))
    return folder


@plants(kinds.ABSENT_PART)
def test_that_was_not_exported(folder: Path) -> Path:
    path = write_yolo(folder)
    path.write_text(path.read_text() + "test: ../test/images\n")
    return path


@plants(kinds.UNLABELLED_IMAGE)
def task_that_nobody_took(folder: Path) -> Path:
    path = write_label_studio(folder)
    tasks = json.loads(path.read_text())
    path.write_text(json.dumps([*tasks, {"data": {"image": "a.png"}, "annotations": []}]))
    return path


@plants(kinds.BACKGROUND_IMAGE)
def picture_without_lines(folder: Path) -> Path:
    path = write_yolo(folder)
    (folder / "labels" / "train" / "d.txt").unlink()
    return path


@plants(kinds.OTHER_IMAGE_NAMED)
def label_of_another_name(folder: Path) -> Path:
    write_voc(folder)
    (folder / "Annotations" / "a.xml").write_text(voc_xml("b.png", *WRITTEN["a.png"]))
    return folder


@plants(kinds.NOT_A_BOX)
def point(folder: Path) -> Path:
    path = write_cvat(folder)
    shape = f'<points label="{CLASSES[0]}" points="3,4"/></image>'
    path.write_text(path.read_text().replace("</image>", shape, 1))
    return path


@plants(kinds.ROTATED_BOX)
def turned_box(folder: Path) -> Path:
    path = write_cvat(folder)
    path.write_text(path.read_text().replace("<box ", '<box rotation="10" ', 1))
    return path


@plants(kinds.SEVERAL_LABELLERS)
def two_labellers(folder: Path) -> Path:
    path = write_label_studio(folder)
    tasks = json.loads(path.read_text())
    tasks[0]["annotations"] += label_studio_task("a.png", *WRITTEN["a.png"])["annotations"]
    path.write_text(json.dumps(tasks))
    return path
