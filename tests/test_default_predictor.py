"""DefaultPredictor prepares one image as the test loader would, and is the same on either host."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import CONFIGS
from torch import nn

from dyhead import DefaultPredictor
from dyhead.checkpoint.model_card import CARD_KEY, ModelCard
from dyhead.config import load_config
from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode, get_cfg
from dyhead.d2.modeling import META_ARCH_REGISTRY
from dyhead.detector import build_detector
from dyhead.errors import UserError


@META_ARCH_REGISTRY.register()
class _GivesItsInputsBack(nn.Module):
    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**one, "training": self.training} for one in batched_inputs]


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    """One of Detectron2's own, without a key of the project."""
    cfg = get_cfg()
    torch.save({"model": {"weight": torch.zeros(1)}}, tmp_path / "w.pth")
    cfg.MODEL.META_ARCHITECTURE = "_GivesItsInputsBack"
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = str(tmp_path / "w.pth"), "cpu"
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 10, 30
    return cfg


SMALL = ["MODEL.DYHEAD.NUM_CONVS", "1", "MODEL.PIXELS_FROM_WEIGHTS", "False"]


@pytest.fixture
def quickstart(tmp_path: Path) -> CfgNode:
    """As a program loads it, and a checkpoint of six classes for it."""
    cfg, _ = load_config(str(CONFIGS / "quickstart.yaml"), SMALL)
    smaller = cfg.clone()
    smaller.MODEL.DEVICE, smaller.MODEL.ATSS.NUM_CLASSES = "cpu", 6
    cfg.MODEL.WEIGHTS = str(tmp_path / "quickstart.pth")
    torch.save({"model": build_detector(smaller).state_dict()}, cfg.MODEL.WEIGHTS)
    return cfg


def test_the_embedded_host_gives_it_and_detectron2_its_own() -> None:
    import dyhead.d2.engine
    import dyhead.d2.engine.defaults

    of_the_host = dyhead.d2.engine.DefaultPredictor
    assert of_the_host is dyhead.d2.engine.defaults.DefaultPredictor
    assert (of_the_host is DefaultPredictor) == (HOST == "embedded")


@pytest.mark.parametrize("channels", ["BGR", "RGB"])
def test_channels_come_in_the_order_of_the_config(cfg: CfgNode, channels: str) -> None:
    cfg.INPUT.FORMAT = channels
    image = np.empty((20, 40, 3), np.uint8)
    image[:] = (1, 2, 3)  # blue, green, red
    output = DefaultPredictor(cfg)(image)
    order = [1.0, 2.0, 3.0] if channels == "BGR" else [3.0, 2.0, 1.0]
    expected = torch.tensor(order).view(3, 1, 1).expand(3, 10, 20)
    torch.testing.assert_close(output["image"], expected)
    assert (output["height"], output["width"], output["training"]) == (20, 40, False)


def test_a_short_side_of_zero_leaves_the_image_as_it_is(cfg: CfgNode) -> None:
    cfg.INPUT.MIN_SIZE_TEST = 0
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    output = DefaultPredictor(cfg)(image)
    np.testing.assert_array_equal(output["image"].permute(1, 2, 0).numpy(), image)


def test_grey_and_transparent_pictures_are_converted(cfg: CfgNode) -> None:
    cfg.INPUT.MIN_SIZE_TEST = 0
    predict = DefaultPredictor(cfg)
    colour = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    grey = np.repeat(colour[:, :, :1], 3, axis=2)
    for given, expected in (
        (colour, colour),
        (np.dstack([colour, colour[:, :, :1]]), colour),
        (colour[:, :, 0], grey),
        (colour[:, :, :1], grey),
    ):
        image = predict(given)["image"].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    ("picture", "error", "message"),
    [
        (np.zeros((4, 5, 3), np.float32), TypeError, "float32"),
        (np.zeros((4, 5, 3), np.int64), TypeError, "int64"),
        (Image.new("RGB", (5, 4)), TypeError, "type Image"),
        ("picture.png", TypeError, "type str"),
        (np.zeros((4, 5, 2), np.uint8), ValueError, r"shape \(4, 5, 2\)"),
        (np.zeros((1, 4, 5, 3), np.uint8), ValueError, r"shape \(1, 4, 5, 3\)"),
        (np.zeros((0, 5, 3), np.uint8), ValueError, r"shape \(0, 5, 3\)"),
    ],
)
def test_what_is_no_such_array_is_one_sentence(
    cfg: CfgNode, picture: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"{message}.*give a uint8 array") as refused:
        DefaultPredictor(cfg)(picture)
    assert "\n" not in str(refused.value)


def test_quickstart_runs_without_a_gpu_and_with_the_classes_of_its_data(
    quickstart: CfgNode, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (quickstart.MODEL.DEVICE, quickstart.MODEL.ATSS.NUM_CLASSES) == ("cuda", 80)
    caplog.set_level("INFO")
    predict = DefaultPredictor(quickstart)
    assert predict.cfg.MODEL.DEVICE == "cpu" and "No GPU found" in caplog.text
    assert predict.model.num_classes == len(predict.metadata.thing_classes) == 6
    assert len(predict(np.zeros((2, 300), np.uint8))["instances"].image_size) == 2


def test_a_random_detector_does_not_answer(quickstart: CfgNode) -> None:
    weights = torch.load(quickstart.MODEL.WEIGHTS, weights_only=True)["model"]
    backbone = {name: w for name, w in weights.items() if "bottom_up" in name}
    torch.save({"model": {**backbone, "backbone.fpn.x": torch.zeros(1)}}, quickstart.MODEL.WEIGHTS)
    with pytest.raises(UserError, match="lacks .* weights .*which would stay random"):
        DefaultPredictor(quickstart)
    quickstart.MODEL.WEIGHTS = ""
    with pytest.raises(UserError, match="random weights detect nothing"):
        DefaultPredictor(quickstart)


def test_classes_are_brought_to_the_order_of_the_metadata(quickstart: CfgNode) -> None:
    names = DefaultPredictor(quickstart).metadata.thing_classes
    content = torch.load(quickstart.MODEL.WEIGHTS, weights_only=True)
    card = ModelCard(config="", class_names=tuple(reversed(names)))
    torch.save({**content, CARD_KEY: card.as_plain()}, quickstart.MODEL.WEIGHTS)
    quickstart.MODEL.ATSS.INFERENCE_TH = 0.0
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    turned = DefaultPredictor(quickstart)(picture)["instances"].pred_classes
    torch.save(content, quickstart.MODEL.WEIGHTS)
    plain = DefaultPredictor(quickstart)(picture)["instances"].pred_classes
    assert len(plain) > 0 and torch.equal(turned, len(names) - 1 - plain)
    with pytest.raises(UserError, match="only in the checkpoint: cat"):
        card = ModelCard(config="", class_names=("cat", *names[1:]))
        torch.save({**content, CARD_KEY: card.as_plain()}, quickstart.MODEL.WEIGHTS)
        DefaultPredictor(quickstart)


def test_other_channel_orders_are_refused(cfg: CfgNode) -> None:
    cfg.INPUT.FORMAT = "L"
    with pytest.raises(UserError, match="INPUT.FORMAT is 'L'"):
        DefaultPredictor(cfg)
