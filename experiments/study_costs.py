"""The multiply-adds of a detector, which trainings of equal multiply-adds are divided by."""

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from comparisons import Variant
from study_plan import config_file, fingerprint
from torch import nn

from dyhead.analysis.operators import count_operators
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.data.num_classes import num_classes_key, set_num_classes
from dyhead.detector import build_detector
from dyhead.errors import UserError

PROJECT = Path(__file__).resolve().parents[1]


@functools.cache
def count_multiply_adds(
    variant: Variant, num_classes: int, overrides: tuple[str, ...], folder: Path
) -> float:
    """Have `dyhead analyze` count a detector's multiply-adds; known ones are kept in a file.

    They are those of an image as high and wide as the config tests them at most, since not all
    costs grow with the image: a second stage has as many regions in a small one.

    Args:
        variant: the detector.
        num_classes: of the data, which RetinaNet has an output for at each of its nine anchors; 0
            leaves the config's.
        overrides: of its config besides its own.
        folder: of these files.

    Raises:
        UserError: there is no such number.
    """
    config = config_file(variant)
    options = (*variant.options, *overrides)
    cfg, _ = load_config(config, options)
    if num_classes:
        set_num_classes(cfg, num_classes)
        options += (num_classes_key(cfg), str(num_classes))
    longer = cfg.INPUT.MAX_SIZE_TEST
    size = (min(cfg.INPUT.MIN_SIZE_TEST or longer, longer), longer)
    height, width = map(str, size)
    path = folder / f"{config.stem}-{fingerprint(config, options)}-{height}x{width}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "dyhead", "analyze", "--config", str(config)]
        command += ["--size", height, width, "--json", str(path), *options]
        print(f"Counting the multiply-adds of {variant.title}", flush=True)
        if subprocess.run(command, stdout=subprocess.DEVNULL, cwd=PROJECT).returncode:
            raise UserError(f"{variant.title} has no number of multiply-adds, see above.")
    counted = float(json.loads(path.read_text(encoding="utf-8"))["total"]["multiply_adds"])
    two_stages = cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN"
    return counted + (_count_regions(cfg, size) if two_stages else 0)


def _count_regions(cfg: CfgNode, size: tuple[int, int]) -> int:
    """Count what `dyhead analyze` leaves out, for it hangs on the image: proposals and regions.

    There are as many regions as a training samples of an image.
    """
    cfg.MODEL.DEVICE, cfg.MODEL.DEFORM_CONV_BACKEND = "cpu", ""
    detector: Any = build_detector(cfg).eval()
    proposals, heads = detector.proposal_generator, detector.roi_heads
    with torch.no_grad():
        pyramid = detector.backbone(torch.zeros(1, 3, *size))
    levels: Any = [pyramid[name] for name in proposals.in_features]
    side = cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION
    regions = torch.zeros(heads.batch_size_per_image, levels[0].shape[1], side, side)
    second = nn.Sequential(heads.box_head, heads.box_predictor)
    counts = [count_operators(proposals.rpn_head, (levels,)), count_operators(second, (regions,))]
    return sum(each.multiply_adds[""] for each in counts)
