"""A page of test images, each twice: with its ground truth and with the predictions."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.d2.structures import BoxMode
from dyhead.data.original_ids import lost_images, original_category_ids, original_image_ids
from dyhead.data.reading import read_image
from dyhead.evaluation.results_file import read_results
from dyhead.visualization.boxes import DrawnBox, draw_boxes
from dyhead.visualization.colors import Color, class_colors
from dyhead.visualization.text import font, shorten

PAGE_WIDTH = 1600
_PAIRS_PER_ROW = 2
_MARGIN = 16
_GAP = 4  # between the two pictures of a pair
_TILE_WIDTH = (PAGE_WIDTH - _MARGIN * (_PAIRS_PER_ROW + 1) - _GAP * _PAIRS_PER_ROW) // (
    2 * _PAIRS_PER_ROW
)
_MAX_TILE_HEIGHT = round(0.85 * _TILE_WIDTH)  # portraits are drawn narrower than the tile
_TITLE_HEIGHT = 26
_MAX_LEGEND = 24


@dataclass(frozen=True)
class _Box:
    """An object of a picture: XYXY in pixels, class index, a prediction's score, or a crowd."""

    corners: tuple[float, float, float, float]
    category: int
    score: float | None = None
    is_crowd: bool = False


def draw_mosaic(
    dataset_name: str,
    predictions_json: str | Path,
    output_png: str | Path,
    num_images: int = 16,
    score_threshold: float = 0.3,
) -> Path:
    """Draw `num_images` images spread evenly over a data set, predictions beside ground truth.

    Args:
        dataset_name: a registered data set with class names.
        predictions_json: COCO's result format: `image_id`, `category_id` as in the data set's json,
            `bbox` (x, y, width, height) and `score`, as in inference/coco_instances_results.json.
        output_png: its folder is made if need be.
        num_images: at most this many.
        score_threshold: predictions below it are left out.

    Returns:
        The path of the picture.

    Raises:
        UserError: the predictions can't be read or are not of this data set.
    """
    records = DatasetCatalog.get(dataset_name)
    names = MetadataCatalog.get(dataset_name).thing_classes
    predictions = _read_predictions(Path(predictions_json), dataset_name, records, score_threshold)
    colors = class_colors(len(names))
    chosen = [records[i] for i in _spread(len(records), num_images)]
    pairs, seen = [], Counter[int]()
    for record in chosen:
        truth, found = _ground_truth(record), predictions.get(record["image_id"], [])
        seen.update(box.category for box in (*truth, *found))
        pairs.append(_draw_pair(record, truth, found, names, colors))
    title = (
        f"{dataset_name}: {len(chosen)} of {len(records)} images, ground truth (left) and"
        f" predictions with a score of at least {score_threshold:g} (right)"
    )
    legend = [category for category, _ in seen.most_common()]
    page = _compose(title, [(names[c], colors[c]) for c in legend], pairs)
    output = Path(output_png)
    output.parent.mkdir(parents=True, exist_ok=True)
    page.save(output)
    return output


def _spread(available: int, wanted: int) -> list[int]:
    """Return indices that lie evenly over the data set, the same each time."""
    count = min(available, wanted)
    return [i * available // count for i in range(count)]


def _read_predictions(
    path: Path, dataset_name: str, records: Sequence[dict], score_threshold: float
) -> dict[int, list[_Box]]:
    """Read the boxes above the threshold, by image id, the most certain last."""
    # The results have the ids of the data set's file, the records may have others.
    images, categories = original_image_ids(dataset_name), original_category_ids(dataset_name)
    record_ids = (record["image_id"] for record in records)
    id_map = MetadataCatalog.get(dataset_name).thing_dataset_id_to_contiguous_id
    results = read_results(
        path,
        {images.get(each, each): each for each in record_ids},
        {categories.get(each, each): index for each, index in id_map.items()},
        lost_images(dataset_name),
    )
    boxes: dict[int, list[_Box]] = {}
    for result in sorted(results, key=lambda result: result["score"]):
        if result["score"] >= score_threshold:
            x, y, width, height = result["bbox"]
            box = _Box((x, y, x + width, y + height), result["category_id"], result["score"])
            boxes.setdefault(result["image_id"], []).append(box)
    return boxes


def _ground_truth(record: dict) -> list[_Box]:
    return [
        _Box(
            tuple(BoxMode.convert(a["bbox"], BoxMode(a["bbox_mode"]), BoxMode.XYXY_ABS)),
            a["category_id"],
            is_crowd=bool(a.get("iscrowd", 0)),
        )
        for a in record.get("annotations", [])
    ]


def _draw_pair(
    record: dict,
    truth: list[_Box],
    found: list[_Box],
    names: Sequence[str],
    colors: Sequence[Color],
) -> Image.Image:
    """Draw both pictures of one image under their titles."""
    image = Image.fromarray(read_image(record["file_name"], format="RGB"))
    zoom = min(_TILE_WIDTH / image.width, _MAX_TILE_HEIGHT / image.height)
    file_name = shorten(Path(record["file_name"]).name, 30)
    titles = (f"{file_name}: {_count(truth, 'object')}", _count(found, "prediction"))
    drawn = [
        draw_boxes(image, [_styled(box, names, colors) for box in boxes], zoom)
        for boxes in (truth, found)
    ]
    pair = Image.new("RGB", (2 * _TILE_WIDTH + _GAP, drawn[0].height + _TITLE_HEIGHT), "white")
    for side, (picture, title) in enumerate(zip(drawn, titles, strict=True)):
        left = side * (_TILE_WIDTH + _GAP)
        pair.paste(picture, (left + (_TILE_WIDTH - picture.width) // 2, _TITLE_HEIGHT))
        ImageDraw.Draw(pair).text((left, 4), title, fill="black", font=font(15))
    return pair


def _styled(box: _Box, names: Sequence[str], colors: Sequence[Color]) -> DrawnBox:
    name, color = names[box.category], colors[box.category]
    return DrawnBox(box.corners, color, name, box.score, is_dashed=box.is_crowd)


def _compose(
    title: str, legend: list[tuple[str, Color]], pairs: Sequence[Image.Image]
) -> Image.Image:
    """Compose the page: title, legend, then the pairs row by row."""
    rows = [pairs[i : i + _PAIRS_PER_ROW] for i in range(0, len(pairs), _PAIRS_PER_ROW)]
    heights = [max(pair.height for pair in row) for row in rows]
    header = _draw_header(title, legend)
    page = Image.new(
        "RGB", (PAGE_WIDTH, header.height + sum(h + _MARGIN for h in heights)), "white"
    )
    page.paste(header, (0, 0))
    top = header.height
    for row, height in zip(rows, heights, strict=True):
        for column, pair in enumerate(row):
            page.paste(pair, (_MARGIN + column * (2 * _TILE_WIDTH + _GAP + _MARGIN), top))
        top += height + _MARGIN
    return page


def _draw_header(title: str, legend: list[tuple[str, Color]]) -> Image.Image:
    header = Image.new("RGB", (PAGE_WIDTH, 400), "white")
    draw = ImageDraw.Draw(header)
    draw.text((_MARGIN, 12), title, fill="black", font=font(22))
    legend_font, x, y = font(17), _MARGIN, 50
    entries = [(shorten(name, 24), color) for name, color in legend[:_MAX_LEGEND]]
    for name, color in entries:
        width = 26 + int(draw.textlength(name, font=legend_font)) + 24
        if x + width > PAGE_WIDTH - _MARGIN:
            x, y = _MARGIN, y + 28
        draw.rectangle((x, y + 2, x + 18, y + 18), fill=color)
        draw.text((x + 26, y - 1), name, fill="black", font=legend_font)
        x += width
    if len(legend) > len(entries):
        draw.text(
            (x, y - 1), f"and {len(legend) - len(entries)} more", fill="black", font=legend_font
        )
    return header.crop((0, 0, PAGE_WIDTH, y + 38))


def _count(boxes: Sequence[_Box], noun: str) -> str:
    return f"{len(boxes)} {noun}" + "s" * (len(boxes) != 1)
