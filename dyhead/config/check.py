"""Checks a whole config: every value by itself, then values that have to suit each other."""

from dyhead.config.range_checks import check_ranges
from dyhead.d2.config import CfgNode
from dyhead.errors import UserError

_CHANNELS_OF_FORMATS = {"L": 1}  # of the others: 3


def check_config(cfg: CfgNode) -> None:
    """Make sure that a config's values are in their ranges and suit each other.

    Raises:
        UserError: one is not, or two do not; the message names keys and values.
    """
    check_ranges(cfg)
    _check_channels(cfg)
    _check_sizes(cfg)
    _check_crop(cfg)
    _check_augmentation(cfg)
    _check_padding(cfg)
    _check_group_norm(cfg)
    _check_rates(cfg)


def _check_channels(cfg: CfgNode) -> None:
    channels = _CHANNELS_OF_FORMATS.get(cfg.INPUT.FORMAT, 3)
    for key in ("PIXEL_MEAN", "PIXEL_STD"):
        if len(cfg.MODEL[key]) != channels:
            raise UserError(
                f"MODEL.{key} has {len(cfg.MODEL[key])} values, INPUT.FORMAT {cfg.INPUT.FORMAT!r}"
                f" wants {channels}: give one for each channel."
            )


def _check_sizes(cfg: CfgNode) -> None:
    sizes = cfg.INPUT.MIN_SIZE_TRAIN
    if cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range" and (len(sizes) != 2 or sizes[0] > sizes[1]):
        raise UserError(
            f"INPUT.MIN_SIZE_TRAIN_SAMPLING 'range' draws between two sizes: INPUT.MIN_SIZE_TRAIN"
            f" is {tuple(sizes)}, give the least and the largest."
        )


def _check_crop(cfg: CfgNode) -> None:
    crop = cfg.INPUT.CROP
    if not crop.ENABLED:
        return
    if crop.TYPE.startswith("relative") and max(crop.SIZE) > 1:
        raise UserError(
            f"INPUT.CROP.SIZE {list(crop.SIZE)} is more than the image: INPUT.CROP.TYPE"
            f" {crop.TYPE!r} takes shares from 0 to 1."
        )
    if crop.TYPE.startswith("absolute") and min(crop.SIZE) < 1:
        raise UserError(
            f"INPUT.CROP.SIZE {list(crop.SIZE)}: INPUT.CROP.TYPE {crop.TYPE!r} takes pixels, 1 or"
            " more."
        )
    if crop.TYPE == "absolute_range" and crop.SIZE[0] > crop.SIZE[1]:
        raise UserError(
            f"INPUT.CROP.SIZE {list(crop.SIZE)}: give the least side, then the largest."
        )


def _check_augmentation(cfg: CfgNode) -> None:
    aug, model = cfg.INPUT.AUG, cfg.MODEL
    for name in ("FIXED_SIZE", "MOSAIC"):
        low, high = aug[name].SCALES
        if low > high:
            raise UserError(
                f"INPUT.AUG.{name}.SCALES is {(low, high)}: give the least, then the largest."
            )
    mixing = [name for name in ("MOSAIC", "COPY_PASTE", "MIXUP") if aug[name].PROB]
    for key in ("MASK_ON", "KEYPOINT_ON", "LOAD_PROPOSALS"):
        if mixing and model[key]:
            raise UserError(
                f"INPUT.AUG.{mixing[0]} mixes boxes alone, and MODEL.{key} is True: set"
                f" INPUT.AUG.{mixing[0]}.PROB to 0.0."
            )


def _check_padding(cfg: CfgNode) -> None:
    if cfg.MODEL.PADDING_IN_STATISTICS:
        return
    if cfg.MODEL.DYHEAD.SIZE_DIVISIBILITY:
        raise UserError(
            f"MODEL.DYHEAD.SIZE_DIVISIBILITY {cfg.MODEL.DYHEAD.SIZE_DIVISIBILITY} pads images, and"
            " MODEL.PADDING_IN_STATISTICS False does without: set the first to 0 or the second to"
            " True."
        )
    if cfg.INPUT.AUG.FIXED_SIZE.SIZE and cfg.INPUT.AUG.FIXED_SIZE.PAD:
        raise UserError(
            "INPUT.AUG.FIXED_SIZE.PAD True makes padding a part of the training's images, and"
            " MODEL.PADDING_IN_STATISTICS False does without: set INPUT.AUG.FIXED_SIZE.PAD to False"
            " or the second to True."
        )


def _check_group_norm(cfg: CfgNode) -> None:
    fpn, resnets = cfg.MODEL.FPN, cfg.MODEL.RESNETS
    for norm_key, norm, key, channels in (
        ("FPN.NORM", fpn.NORM, "FPN.OUT_CHANNELS", fpn.OUT_CHANNELS),
        ("RESNETS.NORM", resnets.NORM, "RESNETS.STEM_OUT_CHANNELS", resnets.STEM_OUT_CHANNELS),
        ("RESNETS.NORM", resnets.NORM, "RESNETS.RES2_OUT_CHANNELS", resnets.RES2_OUT_CHANNELS),
    ):
        if norm == "GN" and channels % 32:
            raise UserError(
                f"MODEL.{norm_key} 'GN' takes a multiple of 32 channels, and MODEL.{key} is"
                f" {channels}: change one of them."
            )


def _check_rates(cfg: CfgNode) -> None:
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME == "WarmupCosineLR" and solver.BASE_LR_END > solver.BASE_LR:
        raise UserError(
            f"SOLVER.BASE_LR_END {solver.BASE_LR_END:g} is more than SOLVER.BASE_LR"
            f" {solver.BASE_LR:g}: give a rate from 0 to BASE_LR, for the rate falls."
        )
