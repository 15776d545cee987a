"""Runs with a small ATSS of random weights: what `Detector` and the command line start from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dyhead.checkpoint import SafeCheckpointer
from dyhead.checkpoint.model_card import CARD_KEY, describe
from dyhead.config import load_config
from dyhead.engine.trainer import Trainer

CONFIG = Path(__file__).parents[2] / "configs" / "Base-ATSS-DyHead-R18-small.yaml"
NAMES, IDS = ("cat", "dog", "cow"), (4, 9, 11)


def save_run(folder: Path, **changes: Any) -> Path:
    """Save a detector of three classes that finds something everywhere, and its model card."""
    settings = {
        "MODEL.DEVICE": "cpu",
        "MODEL.ATSS.NUM_CLASSES": 3,
        "MODEL.DYHEAD.NUM_CONVS": 1,
        "MODEL.ATSS.PRIOR_PROB": 0.3,
        "MODEL.ATSS.PREDICTOR_INIT_STD": 0.3,
        "INPUT.MIN_SIZE_TEST": 96,
        "INPUT.MAX_SIZE_TEST": 160,
        "TEST.AUG.MIN_SIZES": "(64, 96)",
        **changes,
    }
    overrides = [str(part) for item in settings.items() for part in item]
    cfg, _ = load_config(str(CONFIG), overrides)
    torch.manual_seed(0)
    card = replace(describe(cfg), class_names=NAMES, category_ids=IDS)
    folder.mkdir(parents=True, exist_ok=True)
    checkpointer = SafeCheckpointer(Trainer.build_model(cfg), str(folder))
    checkpointer.save("model_final", **{CARD_KEY: card.as_plain()})
    return folder
