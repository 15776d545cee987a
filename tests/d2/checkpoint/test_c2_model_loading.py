"""Caffe2's names and matching by suffix."""

import importlib.util

import pytest
import torch
from embedded_host.checkpoint.c2_model_loading import (
    align_and_update_state_dicts,
    convert_basic_c2_names,
    convert_c2_detectron_names,
)
from torch import nn

C2_NAMES = {
    "conv1_w": "stem.conv1.weight",
    "conv1_bn_s": "stem.conv1.norm.weight",
    "res_conv1_bn_s": "stem.conv1.norm.weight",
    "res_conv1_bn_b": "stem.conv1.norm.bias",
    "res_conv1_bn_rm": "stem.conv1.norm.running_mean",
    "res_conv1_bn_riv": "stem.conv1.norm.running_var",
    "res2_0_branch1_w": "res2.0.shortcut.weight",
    "res2_0_branch1_bn_b": "res2.0.shortcut.norm.bias",
    "res3_1_branch2a_w": "res3.1.conv1.weight",
    "res4_22_branch2b_bn_s": "res4.22.conv2.norm.weight",
    "res5_2_branch2c_gn_s": "res5.2.conv3.norm.weight",
    "res5_2_branch2c_gn_b": "res5.2.conv3.norm.bias",
    "res2_0_branch2a_bn_gamma": "res2.0.conv1.norm.weight",
    "res2_0_branch2a_bn_beta": "res2.0.conv1.norm.bias",
    "res2_0_branch2a_bn_running_mean": "res2.0.conv1.norm.running_mean",
    "res2_0_branch2a_bn_running_var": "res2.0.conv1.norm.running_var",
    "pred_w": "linear.weight",
    "pred_b": "linear.bias",
    "fc1000_w": "fc1000.weight",
}


def test_names_of_a_residual_network():
    assert convert_basic_c2_names(list(C2_NAMES)) == list(C2_NAMES.values())


@pytest.mark.skipif(
    importlib.util.find_spec("detectron2") is None, reason="genuine Detectron2 cannot be imported"
)
def test_names_agree_with_genuine_detectron2():
    from detectron2.checkpoint.c2_model_loading import convert_basic_c2_names as genuine

    names = [*C2_NAMES, "stem.conv1.weight", "res2.0.conv1.weight"]
    assert convert_basic_c2_names(names) == genuine(names)


def test_colliding_names_are_refused():
    with pytest.raises(ValueError, match="stem.conv1.norm.weight"):
        convert_c2_detectron_names({"conv1_bn_s": torch.ones(1), "res_conv1_bn_s": torch.ones(1)})


def nested_model() -> nn.Module:
    model = nn.Module()
    model.block1 = nn.Module()
    model.block1.layer1 = nn.Linear(2, 3)
    model.layer2 = nn.Linear(3, 2)
    model.res = nn.Module()
    model.res.layer2 = nn.Linear(3, 2)
    return model


def weights_for(*names: str) -> dict[str, torch.Tensor]:
    shapes = {"layer1": (3, 2), "layer2": (2, 3)}
    weights = {}
    for name in names:
        shape = shapes[name.split(".")[-1]]
        weights |= {f"{name}.weight": torch.rand(shape), f"{name}.bias": torch.rand(shape[0])}
    return weights


@pytest.mark.parametrize("wrap", [lambda model: model, nn.DataParallel])
def test_the_longest_suffix_wins(wrap):
    model = wrap(nested_model())
    weights = weights_for("layer1", "layer2", "res.layer2")
    model.load_state_dict(align_and_update_state_dicts(model.state_dict(), weights))
    for loaded, expected in zip(model.state_dict().values(), weights.values(), strict=True):
        assert torch.equal(loaded, expected)


def test_suffixes_match_whole_names_only():
    model = nn.ModuleDict({"my_layer1": nn.Linear(2, 3)})
    aligned = align_and_update_state_dicts(model.state_dict(), weights_for("layer1"))
    assert set(aligned) == {"layer1.weight", "layer1.bias"}


def test_other_shapes_are_not_taken_and_the_rest_stays():
    model = nested_model()
    weights = weights_for("layer1", "res.layer2")
    weights["layer1.weight"] = torch.rand(7, 7)
    weights["unused"] = torch.rand(1)
    aligned = align_and_update_state_dicts(model.state_dict(), weights)
    assert "block1.layer1.weight" not in aligned
    assert torch.equal(aligned["block1.layer1.bias"], weights["layer1.bias"])
    assert {"unused", "layer1.weight"} <= set(aligned)


def test_one_weight_for_two_places_is_refused():
    model = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(2, 3)})
    with pytest.raises(ValueError, match="fits both"):
        align_and_update_state_dicts(model.state_dict(), {"weight": torch.rand(3, 2)})
