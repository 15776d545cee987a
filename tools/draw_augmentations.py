"""Draw a picture under each part of INPUT.AUG: `python tools/draw_augmentations.py`.

The picture is generated. Each part is on alone, with the probability 1, on the same picture.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from dyhead.config import load_config
from dyhead.d2.data import DatasetCatalog
from dyhead.data import register_datasets
from dyhead.data.seeding import seed_cpu_generators
from dyhead.data.shape_masks import CLASS_NAMES
from dyhead.data.shape_scenes import ShapesSpec
from dyhead.data.shapes import make_shapes
from dyhead.data.training_mapper import build_training_mappers
from dyhead.visualization.model_input import draw_model_input
from dyhead.visualization.text import draw_caption

TARGET = Path(__file__).parents[1] / "docs" / "images" / "augmentation.jpg"
SPEC = ShapesSpec(height=240, width=320, num_train=12, num_val=1, max_size=150.0)
SIZE = (SPEC.height, SPEC.width)
PANEL, GAP, COLUMNS = (320, 240), 6, 4
PARTS: dict[str, list[Any]] = {
    "as it is": [],
    "COLOR": ["INPUT.AUG.COLOR.PROB", 1.0, "INPUT.AUG.COLOR.HUE", 0.1],
    "IOU_CROP": ["INPUT.AUG.IOU_CROP.PROB", 1.0],
    "FIXED_SIZE (240, 240)": ["INPUT.AUG.FIXED_SIZE.SIZE", (240, 240)],
    "FIXED_SIZE, SCALES (0.1, 2)": [
        *("INPUT.AUG.FIXED_SIZE.SIZE", SIZE, "INPUT.AUG.FIXED_SIZE.SCALES", (0.1, 2.0)),
    ],
    "MOSAIC": ["INPUT.AUG.MOSAIC.PROB", 1.0],
    "COPY_PASTE": ["INPUT.AUG.COPY_PASTE.PROB", 1.0],
    "MIXUP": ["INPUT.AUG.MIXUP.PROB", 1.0],
}


def draw_part(title: str, changes: list[Any], records: Sequence[dict], seed: int) -> Image.Image:
    """Draw the first of the records under some changes of the config."""
    cfg, _ = load_config("")
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (SPEC.height,), "none"
    cfg.merge_from_list(changes)
    mapper, _ = build_training_mappers(cfg, records)
    seed_cpu_generators(seed)
    mapped = mapper(records[0])
    assert mapped is not None
    drawn = draw_model_input(mapped, cfg.INPUT.FORMAT, CLASS_NAMES)
    drawn.thumbnail(PANEL)
    panel = Image.new("RGB", (PANEL[0], PANEL[1] + 22), "white")
    panel.paste(drawn, ((PANEL[0] - drawn.width) // 2, 22))
    draw_caption(panel, title, (PANEL[0] / 2, 2), size=14, color=(255, 255, 255))
    return panel


def draw_all(seed: int) -> Image.Image:
    """Draw all parts as one picture."""
    with tempfile.TemporaryDirectory() as folder:
        root = make_shapes(Path(folder), SPEC)
        cfg, _ = load_config("")
        json_file = root / "annotations" / "instances_train.json"
        cfg.DATASETS.COCO_JSON = [["drawn", str(json_file), str(root / "train")]]
        register_datasets(cfg)
        records = DatasetCatalog.get("drawn")
        panels = [draw_part(title, changes, records, seed) for title, changes in PARTS.items()]
    width, height = panels[0].size
    rows = -(-len(panels) // COLUMNS)
    size = COLUMNS * (width + GAP) - GAP, rows * (height + GAP) - GAP
    whole = Image.new("RGB", size, "white")
    for index, panel in enumerate(panels):
        row, column = divmod(index, COLUMNS)
        whole.paste(panel, (column * (width + GAP), row * (height + GAP)))
    return whole


def main() -> None:
    """Draw and save the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=TARGET)
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    draw_all(args.seed).save(args.output, quality=80)
    print(f"{args.output}: {args.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
