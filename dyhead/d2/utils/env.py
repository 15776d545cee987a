"""Versions and random seeds."""

import logging
import os
import random
import secrets

import numpy as np
import torch

TORCH_VERSION: tuple[int, ...] = tuple(int(part) for part in torch.__version__.split(".")[:2])


def seed_all_rng(seed: int | None = None) -> None:
    """Seed the random generators of Python, numpy and torch (all devices).

    Args:
        seed: a number in [0, 2**32); None draws one from the system and logs it.
    """
    if seed is None:
        seed = secrets.randbelow(2**31)
        logging.getLogger("detectron2.utils.env").info("Random seed drawn for this run: %d", seed)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)
