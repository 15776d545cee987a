"""Colours and pixel statistics follow from what is known of the weights."""

import logging
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from small_models import make

from dyhead.checkpoint import pixels
from dyhead.checkpoint.model_card import CARD_KEY, describe
from dyhead.checkpoint.pixels import known_pixels, settle_pixels
from dyhead.config import find_config, load_config
from dyhead.config.load import value_of
from dyhead.config.pixel_keys import PIXEL_KEYS
from dyhead.d2.config import CfgNode
from dyhead.errors import UserError

RGB = {
    "INPUT.FORMAT": "RGB",
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
}
OF_CARD = ["INPUT.FORMAT", "RGB", "MODEL.PIXEL_MEAN", "[1.0, 2.0, 3.0]"]


def config(weights: str, *opts: str) -> CfgNode:
    keys = ["MODEL.PIXELS_FROM_WEIGHTS", "True", "MODEL.WEIGHTS", weights]
    cfg, _ = load_config("dyhead_r50_atss_fpn_1x", [*keys, *opts])
    return cfg


def pixels_of(cfg: CfgNode) -> dict[str, object]:
    return {key: value_of(cfg, key) for key in PIXEL_KEYS}


@pytest.fixture
def resnet(tmp_path: Path) -> str:
    """A file of torchvision's, whose importer knows how it was trained."""
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet.pth")
    return str(tmp_path / "resnet.pth")


@pytest.fixture
def with_card(tmp_path: Path) -> str:
    """A checkpoint of this project's for pixels of its own."""
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml", *OF_CARD)
    content = {"model": model.state_dict(), CARD_KEY: describe(cfg).as_plain()}
    torch.save(content, tmp_path / "own.pth")
    return str(tmp_path / "own.pth")


def test_they_become_those_of_the_file_and_the_log_says_so(
    resnet: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "dyhead"):
        settled = settle_pixels(config(resnet))
    assert pixels_of(settled) == RGB
    assert "resnet.pth was trained: INPUT.FORMAT RGB, MODEL.PIXEL_MEAN [123.675," in caplog.text


def test_those_of_a_checkpoint_are_its_cards(with_card: str) -> None:
    found = known_pixels(with_card)
    assert (found["INPUT.FORMAT"], found["MODEL.PIXEL_MEAN"]) == ("RGB", [1.0, 2.0, 3.0])


def test_those_of_timms_names_are_timms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "local_path", None)  # nothing has to be fetched for it
    for address in ("timm://tf_efficientnet_lite0", "tf_efficientnet_lite0.in1k"):
        found = known_pixels(address)
        assert found["INPUT.FORMAT"] == "RGB"
        facts = timm.get_pretrained_cfg("tf_efficientnet_lite0")
        assert found["MODEL.PIXEL_MEAN"] == [255 * value for value in facts.mean]
        assert found["MODEL.PIXEL_STD"] == [255 * value for value in facts.std]


def test_weights_that_timm_loads_itself_count_too() -> None:
    keys = ("MODEL.BACKBONE.NAME", "build_timm_fpn_dyhead_backbone", "MODEL.TIMM.PRETRAINED")
    settled = settle_pixels(config("", *keys, "True", "MODEL.TIMM.NAME", "convnext_tiny"))
    assert pixels_of(settled) == RGB


def test_settling_again_changes_nothing(resnet: str) -> None:
    cfg = config(resnet)
    cfg.freeze()
    once = settle_pixels(cfg)
    assert once.is_frozen() and not once.MODEL.PIXELS_FROM_WEIGHTS
    assert settle_pixels(once) is once
    assert cfg.INPUT.FORMAT == "BGR" and cfg.MODEL.PIXELS_FROM_WEIGHTS


def test_without_the_key_or_weights_the_config_counts(resnet: str) -> None:
    plain = config(resnet, "MODEL.PIXELS_FROM_WEIGHTS", "False")
    assert settle_pixels(plain) is plain
    assert pixels_of(settle_pixels(config(""))) == pixels_of(config(""))


@pytest.mark.parametrize("freeze_at", ["-1", "0", "2"])
@pytest.mark.parametrize("norm", ["", "FrozenBN"])
def test_random_weights_where_others_are_counted_on_are_warned_of(
    norm: str, freeze_at: str, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = ("MODEL.BACKBONE.NAME", "build_timm_fpn_dyhead_backbone", "MODEL.TIMM.NORM", norm)
    settle_pixels(config("", *backbone, "MODEL.BACKBONE.FREEZE_AT", freeze_at))
    (line,) = caplog.messages
    assert "MODEL.WEIGHTS is empty" in line and "own_dataset_from_random" in line
    assert ("freezes norms" in line) == bool(norm)
    assert ("FREEZE_AT 2 freezes stages" in line) == (freeze_at == "2")
    assert ("that have learned nothing" in line) == (bool(norm) or freeze_at == "2")


def test_what_is_really_loaded_decides(resnet: str, with_card: str) -> None:
    settled = settle_pixels(config("pip://not-installed"), weights=with_card)
    assert settled.MODEL.PIXEL_MEAN == [1.0, 2.0, 3.0]


def test_weights_of_unknown_training_are_answered_by_the_keys_to_set(tmp_path: Path) -> None:
    _, model = make("dyhead_r50_atss_fpn_1x.yaml")
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    with pytest.raises(UserError, match=r"Nothing is known .*bare\.pth") as error:
        settle_pixels(config(str(tmp_path / "bare.pth")))
    for key in ("MODEL.PIXELS_FROM_WEIGHTS False", *PIXEL_KEYS):
        assert key in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.pth does not exist"):
        settle_pixels(config(str(tmp_path / "gone.pth")))


OWN = ["INPUT.FORMAT", "L", "MODEL.PIXEL_MEAN", "[100.0]", "MODEL.PIXEL_STD", "[50.0]"]
OWN_IN_YAML = "INPUT: {FORMAT: L}\nMODEL: {PIXEL_MEAN: [100.0], PIXEL_STD: [50.0]}\n"


def test_values_of_ones_own_are_not_overwritten_silently(tmp_path: Path) -> None:
    standing_on_it = tmp_path / "mine.yaml"
    standing_on_it.write_text(f"_BASE_: {find_config('own_dataset')}\n{OWN_IN_YAML}")
    on_top = tmp_path / "top.yaml"  # which says nothing of pixels itself
    on_top.write_text("_BASE_: mine.yaml\nOUTPUT_DIR: elsewhere\n")
    for source, opts in [("own_dataset", OWN), (standing_on_it, []), (on_top, [])]:
        with pytest.raises(UserError) as error:
            load_config(source, opts)
        for part in (*PIXEL_KEYS, "MODEL.PIXELS_FROM_WEIGHTS True", "set it to False"):
            assert part in str(error.value)
        cfg, _ = load_config(source, [*opts, "MODEL.PIXELS_FROM_WEIGHTS", "False"])
        assert pixels_of(settle_pixels(cfg)) == {
            "INPUT.FORMAT": "L",
            "MODEL.PIXEL_MEAN": [100.0],
            "MODEL.PIXEL_STD": [50.0],
        }


def test_values_below_the_key_may_be_overwritten(resnet: str, tmp_path: Path) -> None:
    """Those of a file that somebody else wrote, and those of a whole config."""
    cfg, _ = load_config("own_dataset", ["MODEL.WEIGHTS", resnet])
    (tmp_path / "whole.yaml").write_text(cfg.dump())
    whole, _ = load_config(tmp_path / "whole.yaml")
    by_line = ["MODEL.PIXELS_FROM_WEIGHTS", "True", "MODEL.WEIGHTS", resnet]
    for each in (whole, load_config("quickstart", by_line)[0]):
        assert pixels_of(settle_pixels(each)) == RGB
