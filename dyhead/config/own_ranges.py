"""Ranges of the config keys that the project adds; the keys themselves stand in `defaults.py`.

A name that users may register things under is a `name()` here: what it names is looked up where
the thing is built, and so before a run writes anything.
"""

from dyhead.config.ranges import (
    CHANNELS,
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Range,
    either,
    flag,
    identifier,
    list_of,
    name,
    number,
    one_of,
    text,
    whole,
)

_PROBABILITY = number(above=0, below=1)
_NAMES = list_of(name())

_DENSE = {
    "NUM_CLASSES": COUNT,
    "IN_FEATURES": _NAMES,
    "NUM_CONVS": whole(0),
    "CHANNELS": CHANNELS,
    "USE_GN": flag(),
    "PRIOR_PROB": _PROBABILITY,
    "PREDICTOR_INIT_STD": NOT_NEGATIVE,
    "FOCAL_LOSS_GAMMA": NOT_NEGATIVE,
    "FOCAL_LOSS_ALPHA": SHARE,
    "BBOX_REG_LOSS_TYPE": identifier(),
    "INFERENCE_TH": SHARE,
    "PRE_NMS_TOP_N": COUNT,
    "CLIP_BEFORE_NMS": flag(),
    "NMS_TH": SHARE,
}
_WITH_CENTERNESS = {
    **_DENSE,
    "PREDICTOR_KERNEL_SIZE": one_of(1, 3),
    "REG_LOSS_WEIGHT": NOT_NEGATIVE,
    "RANK_BY_CENTERNESS": flag(),
}

OWN_RANGES: dict[str, dict[str, Range]] = {
    "DATASETS": {
        "SOURCES": list_of(list_of(name()), empty=True),
        "VAL_RATIO": _PROBABILITY,
        "SPLIT_SEED": whole(),
        "ALLOW_OUTSIDE": flag(),
        "COCO_JSON": list_of(list_of(name()), empty=True),
        "TRAIN_RATIOS": list_of(POSITIVE, empty=True),
    },
    "INPUT": {"MAX_PIXELS": whole(0)},
    "DATALOADER": {"TIMEOUT": whole(0)},
    "MODEL": {
        "PADDING_IN_STATISTICS": flag(),
        "DEFORM_CONV_BACKEND": either(one_of(""), identifier()),
        "CHANNELS_LAST": flag(),
    },
    "MODEL.SWINT": {
        "EMBED_DIM": CHANNELS,
        "OUT_FEATURES": _NAMES,
        "DEPTHS": list_of(COUNT),
        "NUM_HEADS": list_of(COUNT),
        "WINDOW_SIZE": COUNT,
        "MLP_RATIO": COUNT,
        "DROP_PATH_RATE": number(0, below=1),
        "APE": flag(),
        "VERSION": one_of(1),
        "OUT_NORM": one_of(True),
        "USE_CHECKPOINT": flag(),
    },
    "MODEL.TIMM": {
        "NAME": name(),
        "OUT_FEATURES": _NAMES,
        "TOP_LEVELS": one_of("p6p7", "maxpool", ""),
        "PRETRAINED": flag(),
        "DROP_PATH": number(0, below=1),
        "GRAD_CHECKPOINTING": flag(),
        "NORM": one_of("", "FrozenBN"),
    },
    "MODEL.FPN": {"RELU_BEFORE_P7": flag()},
    "MODEL.DYHEAD": {
        "NUM_CONVS": whole(0),
        "CHANNELS": CHANNELS,
        "SCALE_AWARE": flag(),
        "SPATIAL_AWARE": flag(),
        "TASK_AWARE": flag(),
        "SCALE_ATTENTION": identifier(),
        "SPATIAL_ATTENTION": identifier(),
        "TASK_ATTENTION": identifier(),
        "ORDER": one_of("spatial_scale_task", "scale_spatial_task"),
        "COARSER_OFFSETS": one_of("flat_read", "crop", "resize", "upsample_features"),
        "HARD_SIGMOID": one_of("official", "paper"),
        "BIAS": flag(),
        "OFFSET_INIT": one_of("default", "zero"),
        "SIZE_DIVISIBILITY": whole(0),
        "FUSED": flag(),
        "CHECKPOINT": flag(),
    },
    "MODEL.ATSS": {
        **_WITH_CENTERNESS,
        "TOPK": COUNT,
        "BBOX_REG_WEIGHTS": list_of(POSITIVE, 4),
    },
    "MODEL.FCOS": {
        **_WITH_CENTERNESS,
        "CENTER_SAMPLING_RADIUS": NOT_NEGATIVE,
        "LEVEL_LIMITS": list_of(POSITIVE, empty=True, ascending=True),
        "NORMALIZE_DISTANCES": flag(),
        "CENTERNESS_ON_BOX_TOWER": flag(),
    },
    "MODEL.REPPOINTS": {
        **_DENSE,
        "POINT_CHANNELS": CHANNELS,
        "NUM_POINTS": COUNT,
        "TRANSFORM": one_of("moment", "minmax", "partial_minmax"),
        "MOMENT_MUL": SHARE,
        "GRADIENT_MUL": SHARE,
        "POINT_BASE_SCALE": POSITIVE,
        "TOPK": COUNT,
        "IOU_THRESHOLDS": list_of(number(above=0, most=1), 2),
        "SMOOTH_L1_BETA": NOT_NEGATIVE,
        "INIT_LOSS_WEIGHT": NOT_NEGATIVE,
        "REFINE_LOSS_WEIGHT": NOT_NEGATIVE,
    },
    "MODEL.DYHEAD_RETINANET": {
        "PREDICTOR_KERNEL_SIZE": one_of(1, 3),
        "PREDICTOR_INIT_STD": NOT_NEGATIVE,
    },
    "MODEL.TASK_AWARE_BOX_HEAD": {"NUM_BLOCKS": COUNT},
    "MODEL.COMPILE": {
        "ENABLED": flag(),
        "MODE": one_of("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
    },
    "SOLVER": {
        "OPTIMIZER": identifier(),
        "CHECKPOINT_FINAL_STRIPPED": flag(),
        "EPOCHS": whole(0),
        "REFERENCE_BATCH_SIZE": whole(0),
        "ACCUMULATION_STEPS": COUNT,
        "CHECKPOINTS_KEPT": whole(0),
    },
    "SOLVER.EMA": {"ENABLED": flag(), "DECAY": _PROBABILITY},
    "SOLVER.BEST": {
        "METRIC": text(),
        "MODE": one_of("max", "min"),
        "PATIENCE": whole(0),
        "MIN_DELTA": NOT_NEGATIVE,
    },
    "SOLVER.TRACKING": {
        "SERVICES": list_of(identifier(), empty=True),
        "PROJECT": name(),
        "NAME": text(),
    },
    "SOLVER.AMP": {"DTYPE": one_of("", "bfloat16", "float16")},
    "TEST": {
        "FAST_COCO_EVAL": flag(),
        "MATCH_CLASSES": one_of("name", "index"),
        "PRECISION": one_of("float32", "bfloat16", "float16"),
    },
    "TEST.AUG": {
        "MERGE": one_of("nms", "wbf"),
        "IOU_THRESHOLD": SHARE,
        "VALID_SIZES": list_of(list_of(number(-1), 2), empty=True),
    },
}
