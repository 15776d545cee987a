"""Every config key that the project adds to Detectron2's, and how a config is loaded.

`load_config` is the only way in: it reads YAML safely on either host (Detectron2's own
`merge_from_file` may execute code that a YAML file holds) and answers unknown keys with the nearest
valid ones.
"""

import difflib
import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dyhead.config_swin import add_swin_config
from dyhead.d2.config import CfgNode, get_cfg
from dyhead.d2.safe_io.yaml import load_yaml_text, load_yaml_with_base
from dyhead.errors import UserError, user_errors

logger = logging.getLogger(__name__)

# Official keys that never had an effect: ATSS derives its IoU thresholds from the candidates.
_KEYS_WITHOUT_EFFECT = ("MODEL.ATSS.IOU_THRESHOLDS", "MODEL.ATSS.IOU_LABELS")


def add_dyhead_config(cfg: CfgNode) -> None:
    """Add the project's keys to `cfg`, with the names and defaults of the official code.

    Changed besides: `MODEL.BACKBONE.FREEZE_AT` is -1 (every backbone stage is trained).
    """
    # The dynamic head: a stack of attention blocks on top of an FPN.
    cfg.MODEL.DYHEAD = CfgNode()
    cfg.MODEL.DYHEAD.NUM_CONVS = 6  # number of blocks
    cfg.MODEL.DYHEAD.CHANNELS = 256  # channels of every block's output
    # The ablations of the paper's Table 1. An attention that is off leaves its static counterpart;
    # with all three off no block is left, and the detector is its plain baseline with towers.
    cfg.MODEL.DYHEAD.SCALE_AWARE = True
    cfg.MODEL.DYHEAD.SPATIAL_AWARE = True
    cfg.MODEL.DYHEAD.TASK_AWARE = True
    # What paper, official code and ports do differently: docs/semantics.md.
    cfg.MODEL.DYHEAD.ORDER = "spatial_scale_task"  # or "scale_spatial_task"
    # or "crop", "resize", "upsample_features"
    cfg.MODEL.DYHEAD.COARSER_OFFSETS = "flat_read"
    cfg.MODEL.DYHEAD.HARD_SIGMOID = "official"  # or "paper"
    cfg.MODEL.DYHEAD.BIAS = True  # of the deformable convolutions
    cfg.MODEL.DYHEAD.OFFSET_INIT = "default"  # or "zero"
    # Images are padded to a multiple of it; 0 stands for the coarsest level's stride.
    cfg.MODEL.DYHEAD.SIZE_DIVISIBILITY = 0
    cfg.MODEL.FPN.RELU_BEFORE_P7 = True  # P7 is computed from P6 after a ReLU
    cfg.MODEL.BACKBONE.FREEZE_AT = -1

    # ATSS (Zhang et al., CVPR 2020).
    cfg.MODEL.ATSS = CfgNode()
    # Filled in from the training data set unless a file or the command line sets it.
    cfg.MODEL.ATSS.NUM_CLASSES = 80
    cfg.MODEL.ATSS.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]  # finest level first
    # Convolutions between the features and the predictors, per branch. 0 with DyHead blocks; where
    # a DyHead backbone has none of them, 0 means 4.
    cfg.MODEL.ATSS.NUM_CONVS = 4
    cfg.MODEL.ATSS.CHANNELS = 256  # channels of these convolutions
    cfg.MODEL.ATSS.USE_GN = True  # GroupNorm after each of them
    cfg.MODEL.ATSS.PREDICTOR_KERNEL_SIZE = 1  # or 3
    cfg.MODEL.ATSS.TOPK = 9  # candidate anchors per ground-truth box and level
    cfg.MODEL.ATSS.PRIOR_PROB = 0.01  # foreground probability that the class bias starts from
    # Of the predictors' initial weights. Larger (0.1) lets a detector that starts from random
    # weights tell its classes apart hundreds of steps sooner.
    cfg.MODEL.ATSS.PREDICTOR_INIT_STD = 0.01
    cfg.MODEL.ATSS.BBOX_REG_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of dx, dy, dw, dh
    cfg.MODEL.ATSS.FOCAL_LOSS_GAMMA = 2.0
    cfg.MODEL.ATSS.FOCAL_LOSS_ALPHA = 0.25
    cfg.MODEL.ATSS.REG_LOSS_WEIGHT = 2.0  # weight of the GIoU loss
    cfg.MODEL.ATSS.INFERENCE_TH = 0.05  # lowest class score kept
    cfg.MODEL.ATSS.PRE_NMS_TOP_N = 1000  # detections per level kept before NMS
    # They are ranked by class score times centre-ness, or by class score alone.
    cfg.MODEL.ATSS.RANK_BY_CENTERNESS = True
    cfg.MODEL.ATSS.CLIP_BEFORE_NMS = False  # boxes are clipped to the image before NMS
    cfg.MODEL.ATSS.NMS_TH = 0.6  # IoU above which NMS removes the lower score

    # "SGD" or "ADAMW".
    cfg.SOLVER.OPTIMIZER = "SGD"

    # COCO-format data sets to register: a list of [name, json file, image folder].
    cfg.DATASETS.COCO_JSON = []

    add_swin_config(cfg)


def load_config(config_file: str, opts: Sequence[str] = ()) -> tuple[CfgNode, set[str]]:
    """Build the config: defaults, then `config_file` with its bases, then `opts`.

    Args:
        config_file: a YAML file, or "" for the defaults alone.
        opts: KEY VALUE pairs as they stand on a command line, `["SOLVER.BASE_LR", "0.01"]`.

    Returns:
        the config, not frozen, and the dotted names of the keys that the file or `opts` set.

    Raises:
        UserError: the file is missing or unsafe, a key is unknown, or a value has the wrong type.
    """
    cfg = get_cfg()
    add_dyhead_config(cfg)
    explicit_keys: set[str] = set()
    if config_file:
        explicit_keys |= _merge_file(cfg, config_file)
    explicit_keys |= _merge_opts(cfg, opts)
    return cfg, explicit_keys


def _merge_file(cfg: CfgNode, config_file: str) -> set[str]:
    with user_errors():
        values = load_yaml_with_base(config_file)
    _drop_keys_without_effect(values, config_file)
    if values.get("VERSION", cfg.VERSION) != cfg.VERSION:
        raise UserError(
            f"{config_file}: VERSION {values['VERSION']} configs are not supported: rename its keys"
            f" to those of VERSION {cfg.VERSION}."
        )
    keys = set(_leaf_keys(values))
    _check_keys(cfg, keys, config_file)
    with user_errors(config_file):
        cfg.merge_from_other_cfg(CfgNode(values))
    return keys


def _drop_keys_without_effect(values: dict[str, Any], config_file: str) -> None:
    """Take keys out of a file that the official code wrote but never read."""
    atss = values.get("MODEL", {}).get("ATSS", {}) if isinstance(values.get("MODEL"), dict) else {}
    for key in _KEYS_WITHOUT_EFFECT:
        name = key.rpartition(".")[2]
        if isinstance(atss, dict) and name in atss:
            del atss[name]
            logger.warning("%s: %s has no effect on ATSS and is left out.", config_file, key)


def _merge_opts(cfg: CfgNode, opts: Sequence[str]) -> set[str]:
    if len(opts) % 2:
        raise UserError(
            f"Overrides come in pairs, KEY VALUE (not KEY=VALUE): {opts[-1]!r} has no partner."
        )
    keys = set(opts[0::2])
    _check_keys(cfg, keys, "the command line")
    for key, value in zip(opts[0::2], opts[1::2], strict=True):
        _merge_value(cfg, key, value)
    return keys


def _merge_value(cfg: CfgNode, key: str, value: Any) -> None:
    try:
        cfg.merge_from_list([key, _read_coco_json(key, value)])
    except ValueError as error:
        example = functools.reduce(getattr, key.split("."), cfg)
        if key == "DATASETS.COCO_JSON":
            example = [["my_train", "data/train.json", "data/images"]]
        raise UserError(
            f'the command line: {key} can\'t be {value}: write it in this form: {key} "{example}"'
        ) from error


def _read_coco_json(key: str, value: Any) -> Any:
    """The value of an override; data sets may be written without quotes, as in YAML."""
    if key != "DATASETS.COCO_JSON" or not isinstance(value, str):
        return value
    return load_yaml_text(f"entries: {value}", key)["entries"]


def _leaf_keys(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaf_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _check_keys(cfg: CfgNode, keys: set[str], source: str) -> None:
    valid = sorted(_leaf_keys(cfg))
    unknown = sorted(keys.difference(valid))
    if unknown:
        answers = " ".join(_answer_unknown_key(key, valid) for key in unknown)
        raise UserError(f"{source}: {answers}")


def _answer_unknown_key(key: str, valid: Sequence[str]) -> str:
    """One sentence on what to write instead of `key`."""
    if key in _KEYS_WITHOUT_EFFECT:
        return f"{key} has no effect on ATSS: remove it."
    if members := [name for name in valid if name.startswith(f"{key}.")]:
        return f"{key} is a group of keys: set one of them, such as {members[0]}."
    return f"unknown key {key}, did you mean {' or '.join(_nearest_keys(key, valid))}?"


def _nearest_keys(key: str, valid: Sequence[str], count: int = 3) -> list[str]:
    """The valid keys that look most like `key`: by whole name, or else by its last part."""
    names = {name.upper(): name for name in valid}
    found = difflib.get_close_matches(key.upper(), names, count, cutoff=0.75)
    if not found:
        last_parts = {name.rpartition(".")[2]: name for name in names}
        last_part = key.upper().rpartition(".")[2]
        near = difflib.get_close_matches(last_part, last_parts, count, cutoff=0.7)
        found = [last_parts[part] for part in near]
    if not found:
        found = difflib.get_close_matches(key.upper(), names, count, cutoff=0.0)
    return [names[name] for name in found]
