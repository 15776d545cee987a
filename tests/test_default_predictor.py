"""DefaultPredictor prepares one image as the test loader would, on either host."""

import numpy as np
import pytest
import torch
from torch import nn

from dyhead.d2.config import get_cfg
from dyhead.d2.engine import DefaultPredictor
from dyhead.d2.modeling import META_ARCH_REGISTRY


@META_ARCH_REGISTRY.register()
class _GivesItsInputsBack(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, batched_inputs):
        return [{**one, "training": self.training} for one in batched_inputs]


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "_GivesItsInputsBack"
    cfg.MODEL.DEVICE = "cpu"
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 10, 30
    return cfg


@pytest.mark.parametrize("channels", ["BGR", "RGB"])
def test_channels_come_in_the_order_of_the_config(cfg, channels):
    cfg.INPUT.FORMAT = channels
    image = np.empty((20, 40, 3), np.uint8)
    image[:] = (1, 2, 3)  # blue, green, red
    output = DefaultPredictor(cfg)(image)
    order = [1.0, 2.0, 3.0] if channels == "BGR" else [3.0, 2.0, 1.0]
    expected = torch.tensor(order).view(3, 1, 1).expand(3, 10, 20)
    torch.testing.assert_close(output["image"], expected)
    assert (output["height"], output["width"], output["training"]) == (20, 40, False)


def test_a_short_side_of_zero_leaves_the_image_as_it_is(cfg):
    cfg.INPUT.MIN_SIZE_TEST = 0
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    output = DefaultPredictor(cfg)(image)
    np.testing.assert_array_equal(output["image"].permute(1, 2, 0).numpy(), image)
