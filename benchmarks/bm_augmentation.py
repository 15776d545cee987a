"""Time the augmentations of INPUT.AUG, each alone, per training image with its reading from a JPEG.

    python benchmarks/bm_augmentation.py --threads 1 --sizes 288 384 480 640

Images are generated, and are trained on at their own size.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from measure import time_interleaved
from results import Row, add_common_arguments, report

from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.data import DatasetCatalog
from dyhead.data import register_datasets
from dyhead.data.seeding import seed_cpu_generators
from dyhead.data.shape_scenes import ShapesSpec
from dyhead.data.shapes import make_shapes
from dyhead.data.training_mapper import build_training_mappers

PARTS: dict[str, list[Any]] = {
    "none": [],
    "colours": ["INPUT.AUG.COLOR.PROB", 1.0],
    "IoU crop": ["INPUT.AUG.IOU_CROP.PROB", 1.0],
    "letterbox": ["INPUT.AUG.FIXED_SIZE.SIZE", "{size}"],
    "large-scale jitter": [
        *("INPUT.AUG.FIXED_SIZE.SIZE", "{size}", "INPUT.AUG.FIXED_SIZE.SCALES", (0.1, 2.0)),
    ],
    "mosaic": ["INPUT.AUG.MOSAIC.PROB", 1.0],
    "copy-paste": ["INPUT.AUG.COPY_PASTE.PROB", 1.0],
    "mixup": ["INPUT.AUG.MIXUP.PROB", 1.0],
}


class Pass:
    """Maps all images of a data set under a config, with the same random numbers each time."""

    def __init__(self, cfg: CfgNode, records: Sequence[dict]) -> None:
        self._mapper, self._records = build_training_mappers(cfg, records)[0], records

    def __call__(self) -> None:
        """Map all images."""
        for number, record in enumerate(self._records):
            seed_cpu_generators(0, number)
            self._mapper(record)


def measure(size: tuple[int, int], folder: Path, images: int, rounds: int) -> list[Row]:
    """Measure every part on generated images of a size (height, width)."""
    spec = ShapesSpec(*size, num_train=images, num_val=1, max_size=0.8 * min(size))
    root = make_shapes(folder, spec)
    name = f"shapes_{size[0]}"
    cfg, _ = load_config("")
    cfg.INPUT.MIN_SIZE_TRAIN = (min(size),)
    json_file = root / "annotations" / "instances_train.json"
    cfg.DATASETS.COCO_JSON = [[name, str(json_file), str(root / "train")]]
    register_datasets(cfg)
    records = DatasetCatalog.get(name)
    calls = {}
    for part, changes in PARTS.items():
        changed = cfg.clone()
        changed.merge_from_list([size if value == "{size}" else value for value in changes])
        calls[part] = Pass(changed, records)
    timings = time_interleaved(calls, rounds, torch.device("cpu"))
    return [
        {
            "config": f"{size[0]} x {size[1]}",
            "task": part,
            "milliseconds": 1000 * timing.median / images,
            "quartiles": [1000 * timing.low / images, 1000 * timing.high / images],
        }
        for part, timing in timings.items()
    ]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[288, 384, 480, 640], help="HEIGHT WIDTH ..."
    )
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(arguments)
    if len(args.sizes) % 2:
        parser.error("--sizes: give a height and a width each")
    return args


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    rows: list[Row] = []
    for height, width in zip(args.sizes[::2], args.sizes[1::2], strict=True):
        with tempfile.TemporaryDirectory() as folder:
            rows += measure((height, width), Path(folder), args.images, args.rounds)
    report("augmentation", {"images": args.images}, rows, args)


if __name__ == "__main__":
    main()
