"""One small labelled data set, written in the formats of several labelling tools."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "fly")
Objects = list[tuple[str, tuple[int, int, int, int]]]  # class and XYWH in pixels
LABELS: dict[str, tuple[tuple[int, int], Objects]] = {
    "a.png": ((64, 48), [("bee", (3, 4, 20, 16)), ("ant", (30, 10, 24, 30))]),
    "b.png": ((48, 64), [("fly", (0, 0, 32, 40))]),
    "c.png": ((64, 48), [("ant", (10, 8, 40, 32)), ("fly", (44, 28, 20, 20))]),
    "d.png": ((56, 56), [("bee", (16, 16, 33, 34))]),
}


def draw(folder: Path, labels: Any = None) -> Path:
    """Draw the pictures, noise with a plain rectangle per object, and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, (size, objects)) in enumerate((labels or LABELS).items()):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 90, (size[1], size[0], 3), dtype=np.uint8)
        for label, (x, y, width, height) in objects:
            pixels[y : y + height, x : x + width] = 120 + 60 * CLASSES.index(label)
        Image.fromarray(pixels).save(folder / name)
    return folder


def write_coco(folder: Path, labels: Any = None) -> Path:
    """Write instances.json beside the folder "images"; `LABELS` unless others are given."""
    draw(folder / "images", labels)
    images: list[dict] = []
    annotations: list[dict] = []
    for name, (size, objects) in (labels or LABELS).items():
        number = len(images) + 1
        images.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
        for label, box in objects:
            entry = {"id": len(annotations) + 1, "image_id": number, "bbox": list(box)}
            entry |= {
                "category_id": CLASSES.index(label) + 1,
                "iscrowd": 0,
                "area": box[2] * box[3],
            }
            annotations.append(entry)
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories, "info": {}}
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def voc_xml(name: str, size: tuple[int, int], objects: Objects, extra: str = "") -> str:
    """Write VOC's XML of an image as labelling tools do: corners from 0."""
    found = "".join(
        f"<object><name>{escape(label)}</name><difficult>0</difficult><bndbox><xmin>{x}</xmin>"
        f"<ymin>{y}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>\n"
        for label, (x, y, w, h) in objects
    )
    return (
        f"<annotation>\n<filename>{escape(name)}</filename>\n{extra}<size><width>{size[0]}</width>"
        f"<height>{size[1]}</height><depth>3</depth></size>\n{found}</annotation>"
    )


def write_voc(folder: Path) -> Path:
    """Write Annotations and JPEGImages."""
    draw(folder / "JPEGImages")
    (folder / "Annotations").mkdir()
    for name, (size, objects) in LABELS.items():
        text = voc_xml(name, size, objects)
        (folder / "Annotations" / name).with_suffix(".xml").write_text(text)
    return folder


def yolo_lines(size: tuple[int, int], objects: Objects) -> str:
    """Write YOLO's lines of an image."""
    lines = []
    for label, (x, y, width, height) in objects:
        center = ((x + width / 2) / size[0], (y + height / 2) / size[1])
        numbers = (*center, width / size[0], height / size[1])
        lines.append(" ".join([str(CLASSES.index(label)), *(f"{n:.10f}" for n in numbers)]))
    return "\n".join(lines) + "\n"


def write_yolo(folder: Path) -> Path:
    """Write data.yaml with one part, images/train and labels/train."""
    draw(folder / "images" / "train")
    (folder / "labels" / "train").mkdir(parents=True)
    for name, (size, objects) in LABELS.items():
        path = (folder / "labels" / "train" / name).with_suffix(".txt")
        path.write_text(yolo_lines(size, objects))
    path = folder / "data.yaml"
    path.write_text(f"train: images/train\nnc: 3\nnames: [{', '.join(CLASSES)}]\n")
    return path


def write_cvat(folder: Path) -> Path:
    """Write annotations.xml beside the folder "images"."""
    draw(folder / "images")
    labels = "".join(f"<label><name>{name}</name></label>" for name in CLASSES)
    images = ""
    for number, (name, (size, objects)) in enumerate(LABELS.items()):
        boxes = "".join(
            f'<box label="{label}" occluded="0" xtl="{x}" ytl="{y}" xbr="{x + w}" ybr="{y + h}"/>\n'
            for label, (x, y, w, h) in objects
        )
        size_text = f'width="{size[0]}" height="{size[1]}"'
        images += f'<image id="{number}" name="{name}" {size_text}>\n{boxes}</image>\n'
    path = folder / "annotations.xml"
    meta = f"<version>1.1</version><meta><task><labels>{labels}</labels></task></meta>"
    path.write_text(f"<annotations>{meta}\n{images}</annotations>")
    return path


def label_studio_task(name: str, size: tuple[int, int], objects: Objects) -> dict[str, Any]:
    """Return a task of Label Studio, whose image was uploaded."""
    results = [
        {
            "type": "rectanglelabels",
            "original_width": size[0],
            "original_height": size[1],
            "image_rotation": 0,
            "value": {
                "x": 100 * x / size[0],
                "y": 100 * y / size[1],
                "width": 100 * width / size[0],
                "height": 100 * height / size[1],
                "rotation": 0,
                "rectanglelabels": [label],
            },
        }
        for label, (x, y, width, height) in objects
    ]
    address = f"/data/upload/7/0123abcd-{name}"
    return {"id": 5, "data": {"image": address}, "annotations": [{"id": 1, "result": results}]}


def write_label_studio(folder: Path) -> Path:
    """Write an export "JSON" beside the folder "images"."""
    draw(folder / "images")
    tasks = [label_studio_task(name, *label) for name, label in LABELS.items()]
    path = folder / "project-1.json"
    path.write_text(json.dumps(tasks))
    return path


def labelme_json(name: str, size: tuple[int, int], objects: Objects) -> dict[str, Any]:
    """Return labelme's json of an image."""
    shapes = [
        {"label": label, "shape_type": "rectangle", "points": [[x, y], [x + w, y + h]]}
        for label, (x, y, w, h) in objects
    ]
    size_keys = {"imageWidth": size[0], "imageHeight": size[1]}
    return {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": name, **size_keys}


def write_labelme(folder: Path) -> Path:
    """Write a json beside each picture."""
    draw(folder)
    for name, (size, objects) in LABELS.items():
        text = json.dumps(labelme_json(name, size, objects))
        (folder / name).with_suffix(".json").write_text(text)
    return folder


WRITERS: dict[str, Callable[[Path], Path]] = {
    "COCO json": write_coco,
    "PASCAL VOC": write_voc,
    "YOLO": write_yolo,
    "CVAT for images": write_cvat,
    "Label Studio json": write_label_studio,
    "labelme": write_labelme,
}
