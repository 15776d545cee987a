"""A page of labelled images, for people who would rather look than read."""

import functools
import io
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from dyhead.d2.data.detection_utils import read_image
from dyhead.d2.safe_io.save import write_bytes_atomically
from dyhead.visualization.colors import class_colors, on_dark

COLUMNS = 4
CELL = (400, 300)  # width and height of one image with its margin, pixels
_MARGIN = 6
_TITLE_HEIGHT = 20

Style = tuple[str, tuple[int, ...]]  # class name, RGB from 0 to 255


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
    categories = coco["categories"]
    styles = {
        category["id"]: (
            " ".join(category["name"].split()),
            tuple(round(255 * c) for c in on_dark(color)),
        )
        for category, color in zip(categories, class_colors(len(categories)), strict=True)
    }
    rows = -(-count // COLUMNS)
    page = Image.new("RGB", (min(count, COLUMNS) * CELL[0], rows * CELL[1]), "black")
    for place, image in enumerate(chosen):
        cell = _draw_cell(image, image_root, labels[image["id"]], styles)
        page.paste(cell, (place % COLUMNS * CELL[0], place // COLUMNS * CELL[1]))
    file = io.BytesIO()
    page.save(file, format="png")
    write_bytes_atomically(file.getvalue(), output_png)


def _style(name: str, color: tuple[float, float, float]) -> Style:
    """A name on one line, and a colour that shows on black."""
    return " ".join(name.split()), tuple(round(255 * c) for c in on_dark(color))


def _draw_cell(
    image: Mapping[str, Any],
    image_root: Path,
    labels: list[dict[str, Any]],
    styles: Mapping[Any, Style],
) -> Image.Image:
    """One image, as large as fits, below its name."""
    picture = Image.fromarray(read_image(str(image_root / image["file_name"]), format="RGB"))
    room = (CELL[0] - 2 * _MARGIN, CELL[1] - 2 * _MARGIN - _TITLE_HEIGHT)
    zoom = min(room[0] / picture.width, room[1] / picture.height)
    size = (max(round(picture.width * zoom), 1), max(round(picture.height * zoom), 1))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    for label in sorted(labels, key=lambda label: label["score"]):  # the most certain on top
        _draw_box(draw, label, zoom, styles[label["category_id"]])
    cell = Image.new("RGB", CELL, "black")
    title = f"{image['file_name'][-44:]}: {len(labels)}"
    ImageDraw.Draw(cell).text((_MARGIN, _MARGIN - 2), title, fill="white", font=_font(13))
    cell.paste(picture, ((CELL[0] - size[0]) // 2, _MARGIN + _TITLE_HEIGHT))
    return cell


def _draw_box(
    draw: ImageDraw.ImageDraw, label: Mapping[str, Any], zoom: float, style: Style
) -> None:
    name, color = style
    x, y, width, height = (value * zoom for value in label["bbox"])
    draw.rectangle((x, y, x + width, y + height), outline=color, width=2)
    text, font = f"{name} {label['score']:.0%}", _font(10)
    room = draw.im.size[0] - draw.textlength(text, font=font)  # a name may not leave the picture
    corner = (max(min(x, room), 0), max(y - 12, 0))
    draw.rectangle(draw.textbbox(corner, text, font=font), fill="black")
    draw.text(corner, text, fill=color, font=font)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib."""
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)
