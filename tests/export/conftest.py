"""A detector small enough to be exported within a test."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import save_run

from dyhead.detector import ReadyDetector, load_detector
from dyhead.errors import UserError
from dyhead.export.exporting import check_pytorch

SMALL = {
    "MODEL.BACKBONE.NAME": "build_timm_fpn_dyhead_backbone",
    "MODEL.TIMM.NAME": "test_resnet",
    "MODEL.TIMM.PRETRAINED": False,
    "MODEL.TIMM.OUT_FEATURES": "['stride32']",
    "MODEL.FPN.IN_FEATURES": "()",
    "MODEL.FPN.NORM": "",
    "MODEL.FPN.OUT_CHANNELS": 32,
    "MODEL.DYHEAD.CHANNELS": 32,
    "MODEL.ATSS.IN_FEATURES": "['p5', 'p6', 'p7']",
    "MODEL.ANCHOR_GENERATOR.SIZES": "[[48], [96], [192]]",
}


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder; its detector finds something everywhere."""
    return save_run(tmp_path_factory.mktemp("run"), **SMALL)


@pytest.fixture(scope="session")
def ready(run: Path) -> ReadyDetector:
    return load_detector(run, device="cpu")


@pytest.fixture(scope="session")
def _can_export() -> None:
    try:
        check_pytorch()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def pictures(_can_export: None) -> list[np.ndarray]:
    """Two pictures as resized for the detector, uint8, (64, 64, 3) and (96, 130, 3)."""
    return [noise(64, 64), noise(96, 130)]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random picture, uint8, (height, width, 3)."""
    rng = np.random.default_rng([seed, height, width])
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))[:height, :width]


@pytest.fixture(scope="session")
def make_picture() -> Any:
    return noise
