"""TEST.AUG as it is read, and refused where it cannot be used."""

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rectangle_finder import RectangleFinder
from torch import nn

from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.errors import UserError
from dyhead.modeling.tta import MultiScaleTesting, View, build_multi_scale_testing


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MIN_SIZES": ()}, "MIN_SIZES is empty"),
        ({"MIN_SIZES": (400, -1)}, "MIN_SIZES is"),
        ({"MAX_SIZE": 0}, "MAX_SIZE is 0"),
        ({"MERGE": "mean"}, "MERGE is 'mean'"),
        ({"IOU_THRESHOLD": 1.0}, "IOU_THRESHOLD is 1.0"),
        ({"VALID_SIZES": [[0, 96]]}, "VALID_SIZES has 1 entries for the 2"),
        ({"VALID_SIZES": [[0, 96], [96, 96]]}, r"VALID_SIZES has the entry \[96, 96\]"),
        ({"VALID_SIZES": [[0, 96], [-1, 96]]}, "VALID_SIZES has the entry"),
        ({"VALID_SIZES": [0, 96]}, "VALID_SIZES has the entry 0"),
    ],
)
def test_mistakes_are_answered_with_one_sentence(changes: dict[str, Any], message: str) -> None:
    cfg = config(**{f"TEST.AUG.{key}": value for key, value in changes.items()})
    with pytest.raises(UserError, match=f"TEST.AUG.{message}"):
        build_multi_scale_testing(cfg, RectangleFinder())


@pytest.mark.parametrize("key", ["MASK_ON", "KEYPOINT_ON"])
def test_only_boxes_are_merged(key: str) -> None:
    with pytest.raises(UserError, match=f"set MODEL.{key} to False"):
        build_multi_scale_testing(config(**{f"MODEL.{key}": True}), RectangleFinder())


def config(**changes: Any) -> CfgNode:
    cfg, _ = load_config("")
    cfg.TEST.AUG.ENABLED, cfg.TEST.AUG.MIN_SIZES = True, (24, 48)
    cfg.merge_from_list([part for item in changes.items() for part in item])
    return cfg


def test_every_key_reaches_the_module(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    changes = {"MAX_SIZE": 90, "FLIP": True, "MERGE": "wbf", "IOU_THRESHOLD": 0.4}
    cfg = config(**{f"TEST.AUG.{key}": value for key, value in changes.items()})
    cfg.TEST.AUG.VALID_SIZES = [[16, -1], [0, 32.5]]
    cfg.TEST.DETECTIONS_PER_IMAGE, cfg.INPUT.FORMAT = 7, "RGB"
    model = RectangleFinder()
    testing = build_multi_scale_testing(cfg, model)
    assert isinstance(testing, MultiScaleTesting) and testing.model is model
    assert testing.views == [
        View(size, 90, is_flipped, sizes)
        for size, sizes in ((24, (16.0, math.inf)), (48, (0.0, 32.5)))
        for is_flipped in (False, True)
    ]
    assert (testing.merge, testing.iou_threshold) == ("wbf", 0.4)
    assert (testing.max_detections_per_image, testing.image_format) == (7, "RGB")
    assert "4 views per image" in caplog.text
    cfg.TEST.AUG.FLIP = False
    assert len(build_multi_scale_testing(cfg, model).views) == 2  # type: ignore[arg-type]
    cfg.TEST.AUG.ENABLED = False
    assert build_multi_scale_testing(cfg, model) is model


def test_a_distributed_model_is_unwrapped(tmp_path: Path) -> None:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = nn.Sequential(RectangleFinder(), nn.Linear(1, 1))
        distributed = nn.parallel.DistributedDataParallel(model)
        assert build_multi_scale_testing(config(), distributed).model is model
    finally:
        torch.distributed.destroy_process_group()
