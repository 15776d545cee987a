"""Pictures for a detector are resized as the test loader resizes them, and have three channels."""

import numpy as np
import pytest

from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.data import CheckedMapper
from dyhead.data.model_input import colour_order, resize, resized_size
from dyhead.errors import UserError
from dyhead.prediction import read_picture

SIZES = [(40, 60), (60, 40), (30, 200), (64, 64)]  # height, width


@pytest.fixture
def cfg() -> CfgNode:
    cfg, _ = load_config("", ["INPUT.MAX_SIZE_TEST", "90"])
    return cfg


@pytest.mark.parametrize("min_size", [0, 32, 48])
@pytest.mark.parametrize("size", SIZES)
def test_a_picture_is_resized_as_the_test_loader_does(
    cfg: CfgNode, size: tuple[int, int], min_size: int, tmp_path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    read_picture(pixels).as_image().save(tmp_path / "a.png")
    cfg.INPUT.MIN_SIZE_TEST = min_size
    mapped = CheckedMapper(cfg, is_train=False)({"file_name": str(tmp_path / "a.png")})
    resized = resize(pixels, min_size, cfg.INPUT.MAX_SIZE_TEST)
    np.testing.assert_array_equal(resized.transpose(2, 0, 1), mapped["image"].numpy())
    assert resized.shape[:2] == resized_size(*size, min_size, cfg.INPUT.MAX_SIZE_TEST)


def test_the_order_of_channels_is_the_configs(cfg: CfgNode) -> None:
    for order in ("BGR", "RGB"):
        cfg.INPUT.FORMAT = order
        assert colour_order(cfg) == order
    cfg.INPUT.FORMAT = "L"
    with pytest.raises(UserError, match="INPUT.FORMAT is 'L': make it 'BGR' or 'RGB'"):
        colour_order(cfg)
