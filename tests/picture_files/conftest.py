"""Pictures as cameras and labelling tools store them."""

import numpy as np
import pytest


@pytest.fixture
def shown() -> np.ndarray:
    """A picture as it is to be shown, (6, 8, 3) RGB."""
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
