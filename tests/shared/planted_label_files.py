"""Kinds of problems that only label files of other formats than COCO's have, and their planters."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from label_files import CLASSES, Objects, label_studio_task, labelme_json, voc_xml, yolo_lines
from planted_faults import HEIGHT, WIDTH, LabelledFolder, LabelledSet, plants

from dyhead.data.checks import kinds

SIZE = (WIDTH, HEIGHT)


def labels_of(labelled: LabelledSet) -> list[tuple[str, Objects]]:
    """Give the file name and the objects of every picture."""
    return [
        (
            image["file_name"],
            [(CLASSES[a["category_id"] - 1], tuple(a["bbox"])) for a in labelled.boxes_of(image)],
        )
        for image in labelled.content["images"]
    ]


def write_labelme(folder: LabelledFolder, change: Callable[[dict[str, Any]], None]) -> None:
    """Write a json beside each picture; the first one is changed."""
    for number, (name, objects) in enumerate(labels_of(folder.train)):
        content = labelme_json(name, SIZE, objects)
        if number == 0:
            change(content)
        (folder.train.images / name).with_suffix(".json").write_text(json.dumps(content))
    folder.label_files = folder.train.images


def write_yolo(folder: LabelledFolder) -> list[Path]:
    """Write a text file beside each picture."""
    (folder.train.images / "classes.txt").write_text("\n".join(CLASSES))
    written = []
    for name, objects in labels_of(folder.train):
        written.append((folder.train.images / name).with_suffix(".txt"))
        written[-1].write_text(yolo_lines(SIZE, objects))
    folder.label_files = folder.train.images
    return written


def write_label_studio(folder: LabelledFolder, change: Callable[[dict[str, Any]], None]) -> None:
    """Write an export of all pictures; the first task is changed."""
    tasks = [label_studio_task(name, SIZE, objects) for name, objects in labels_of(folder.train)]
    change(tasks[0])
    folder.label_files = folder.train.path.with_name("project.json")
    folder.label_files.write_text(json.dumps(tasks))


@plants(kinds.DAMAGED_LABEL, is_of_whole_set=True)
def shape_without_points(folder: LabelledFolder) -> int:
    write_labelme(folder, lambda content: content["shapes"][0].update(points="?"))
    return 1


@plants(kinds.DAMAGED_LABEL_FILE, is_of_whole_set=True)
def label_file_cut_off(folder: LabelledFolder) -> int:
    write_labelme(folder, lambda content: None)
    file = (folder.train.images / folder.train.take_image()["file_name"]).with_suffix(".json")
    file.write_text(file.read_text()[:50])
    return 1


@plants(kinds.LABEL_WITHOUT_IMAGE, is_of_whole_set=True)
def label_file_alone(folder: LabelledFolder) -> int:
    (folder.train.images / "lost.txt").write_text(write_yolo(folder)[0].read_text())
    return 1


@plants(kinds.UNLABELLED_IMAGE, is_of_whole_set=True)
def task_that_nobody_did(folder: LabelledFolder) -> int:
    write_label_studio(folder, lambda task: task.update(annotations=[]))
    return 1


@plants(kinds.BACKGROUND_IMAGE, is_of_whole_set=True)
def picture_without_label_file(folder: LabelledFolder) -> int:
    write_yolo(folder)[0].unlink()
    return 1


@plants(kinds.OTHER_IMAGE_NAMED, is_of_whole_set=True)
def label_file_of_another_name(folder: LabelledFolder) -> int:
    folder.label_files = folder.train.path.with_name("Annotations")
    folder.label_files.mkdir()
    labels = labels_of(folder.train)
    for number, (name, objects) in enumerate(labels):
        said = labels[1][0] if number == 0 else name
        path = (folder.label_files / name).with_suffix(".xml")
        path.write_text(voc_xml(said, SIZE, objects))
    return 1


@plants(kinds.NOT_A_BOX, is_of_whole_set=True)
def point(folder: LabelledFolder) -> int:
    shape = {"label": CLASSES[0], "shape_type": "point", "points": [[5, 5]]}
    write_labelme(folder, lambda content: content["shapes"].append(shape))
    return 1


@plants(kinds.ROTATED_BOX, is_of_whole_set=True)
def rotated_box(folder: LabelledFolder) -> int:
    def turn(task: dict[str, Any]) -> None:
        task["annotations"][0]["result"][1]["value"]["rotation"] = 10

    write_label_studio(folder, turn)
    return 1


@plants(kinds.SEVERAL_LABELLERS, is_of_whole_set=True)
def two_labellers(folder: LabelledFolder) -> int:
    write_label_studio(folder, lambda task: task["annotations"].append(task["annotations"][0]))
    return 1
