"""Draws a page of labelled images."""

import io
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from dyhead.data.reading import read_image
from dyhead.safe_io.save import write_bytes_atomically
from dyhead.visualization.boxes import DrawnBox, draw_boxes
from dyhead.visualization.colors import Color, class_colors
from dyhead.visualization.text import font

COLUMNS = 4
CELL = (400, 300)  # width and height of one image with its margin, pixels
_MARGIN = 6
_TITLE_HEIGHT = 20

Style = tuple[str, Color]  # class name and its colour


def draw_labels(
    coco: Mapping[str, Any], image_root: Path, output_png: Path, num_images: int = 16
) -> None:
    """Draw images that lie evenly over those with labels, with boxes, class names and scores.

    Args:
        coco: COCO's format with a `score` per annotation.
        image_root: the folder that its file names are relative to.
        output_png: what to write.
        num_images: at most so many.
    """
    labels = defaultdict(list)
    for annotation in coco["annotations"]:
        labels[annotation["image_id"]].append(annotation)
    labelled = [image for image in coco["images"] if image["id"] in labels]
    count = min(num_images, len(labelled))
    chosen = [labelled[i * len(labelled) // count] for i in range(count)]
    colors = class_colors(len(coco["categories"]))
    styles = {
        category["id"]: (category["name"], color)
        for category, color in zip(coco["categories"], colors, strict=True)
    }
    rows = -(-count // COLUMNS)
    page = Image.new("RGB", (min(count, COLUMNS) * CELL[0], rows * CELL[1]), "black")
    for place, image in enumerate(chosen):
        cell = _draw_cell(image, image_root, labels[image["id"]], styles)
        page.paste(cell, (place % COLUMNS * CELL[0], place // COLUMNS * CELL[1]))
    file = io.BytesIO()
    page.save(file, format="png")
    write_bytes_atomically(file.getvalue(), output_png)


def _draw_cell(
    image: Mapping[str, Any],
    image_root: Path,
    labels: list[dict[str, Any]],
    styles: Mapping[Any, Style],
) -> Image.Image:
    """Draw one image, as large as fits, below its name."""
    picture = Image.fromarray(read_image(str(image_root / image["file_name"]), format="RGB"))
    room = (CELL[0] - 2 * _MARGIN, CELL[1] - 2 * _MARGIN - _TITLE_HEIGHT)
    zoom = min(room[0] / picture.width, room[1] / picture.height)
    drawn = draw_boxes(picture, [_as_box(label, styles) for label in labels], zoom)
    cell = Image.new("RGB", CELL, "black")
    title = f"{image['file_name'][-44:]}: {len(labels)}"
    ImageDraw.Draw(cell).text((_MARGIN, _MARGIN - 2), title, fill="white", font=font(13))
    cell.paste(drawn, ((CELL[0] - drawn.width) // 2, _MARGIN + _TITLE_HEIGHT))
    return cell


def _as_box(label: Mapping[str, Any], styles: Mapping[Any, Style]) -> DrawnBox:
    name, color = styles[label["category_id"]]
    x, y, width, height = label["bbox"]
    return DrawnBox((x, y, x + width, y + height), color, name, label["score"])
