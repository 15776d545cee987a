"""Values that are right by themselves have to suit each other."""

from typing import Any

import pytest

from dyhead.config import load_config
from dyhead.config.check import check_config
from dyhead.config.find import packaged_configs
from dyhead.errors import UserError


@pytest.mark.parametrize("config", ["", *packaged_configs()])
def test_packaged_configs_suit_themselves(config: str) -> None:
    check_config(load_config(config)[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"INPUT.FORMAT": "L"}, "MODEL.PIXEL_MEAN has 3 values, INPUT.FORMAT 'L' wants 1"),
        ({"MODEL.PIXEL_STD": [1.0]}, "MODEL.PIXEL_STD has 1 values, INPUT.FORMAT 'BGR' wants 3"),
        ({"INPUT.MIN_SIZE_TRAIN_SAMPLING": "range"}, r"INPUT.MIN_SIZE_TRAIN is \(800,\)"),
        (
            {"INPUT.MIN_SIZE_TRAIN_SAMPLING": "range", "INPUT.MIN_SIZE_TRAIN": (9, 8)},
            "give the least and the largest",
        ),
        ({"INPUT.CROP.ENABLED": True, "INPUT.CROP.SIZE": [0.5, 1.5]}, "shares from 0 to 1"),
        ({"INPUT.CROP.ENABLED": True, "INPUT.CROP.TYPE": "absolute"}, "takes pixels"),
        (
            {
                "INPUT.CROP.ENABLED": True,
                "INPUT.CROP.TYPE": "absolute_range",
                "INPUT.CROP.SIZE": [600.0, 384.0],
            },
            "the least side, then the largest",
        ),
        ({"INPUT.AUG.MOSAIC.SCALES": (1.0, 0.5)}, r"MOSAIC.SCALES is \(1.0, 0.5\): give the least"),
        ({"INPUT.AUG.FIXED_SIZE.SCALES": (2.0, 0.1)}, "FIXED_SIZE.SCALES is"),
        (
            {"INPUT.AUG.COPY_PASTE.PROB": 0.5, "MODEL.MASK_ON": True},
            "COPY_PASTE mixes boxes alone, and MODEL.MASK_ON is True",
        ),
        ({"INPUT.AUG.MIXUP.PROB": 0.5, "MODEL.KEYPOINT_ON": True}, "MODEL.KEYPOINT_ON is True"),
        ({"SOLVER.BASE_LR": -1.0}, "SOLVER.BASE_LR can't be -1.0"),
        (
            {"MODEL.FPN.NORM": "GN", "MODEL.FPN.OUT_CHANNELS": 48},
            "FPN.NORM 'GN' takes a multiple of 32 channels, and MODEL.FPN.OUT_CHANNELS is 48",
        ),
        (
            {"MODEL.RESNETS.NORM": "GN", "MODEL.RESNETS.STEM_OUT_CHANNELS": 3},
            "multiple of 32 channels, and MODEL.RESNETS.STEM_OUT_CHANNELS is 3",
        ),
        (
            {"SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR", "SOLVER.BASE_LR_END": 1.0},
            "BASE_LR_END 1 is more than SOLVER.BASE_LR 0.001: give a rate from 0 to BASE_LR",
        ),
        (
            {"MODEL.PADDING_IN_STATISTICS": False, "MODEL.DYHEAD.SIZE_DIVISIBILITY": 32},
            "SIZE_DIVISIBILITY 32 pads images.*set the first to 0 or the second to True",
        ),
        (
            {"MODEL.PADDING_IN_STATISTICS": False, "INPUT.AUG.FIXED_SIZE.SIZE": (64, 64)},
            "FIXED_SIZE.PAD True makes padding .* set INPUT.AUG.FIXED_SIZE.PAD to False",
        ),
    ],
)
def test_values_that_do_not_suit_each_other_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    cfg, _ = load_config("")
    cfg.merge_from_list([part for change in changes.items() for part in change])
    with pytest.raises(UserError, match=message):
        check_config(cfg)


def test_grey_images_with_one_mean_and_divisor_are_right() -> None:
    check_config(
        load_config(
            "", ["INPUT.FORMAT", "L", "MODEL.PIXEL_MEAN", "[9.0]", "MODEL.PIXEL_STD", "[2.0]"]
        )[0]
    )


def test_a_crop_that_is_off_may_have_any_size() -> None:
    check_config(load_config("", ["INPUT.CROP.SIZE", "[384, 600]"])[0])
