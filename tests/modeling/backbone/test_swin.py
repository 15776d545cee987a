"""The Swin Transformer against a naive double, timm's Swin, and the official module's code."""

import importlib.util
import os
import sys
import types
from pathlib import Path

import pytest
import timm.layers
import torch
import torch.nn.functional as F
from fvcore.common.registry import Registry
from timm.models.swin_transformer import SwinTransformer as TimmSwin
from torch import nn

import dyhead
from dyhead.config import add_dyhead_config
from dyhead.d2.config import get_cfg
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import BACKBONE_REGISTRY
from dyhead.modeling.backbone import SwinTransformer

STAGES = ["stage2", "stage3", "stage4", "stage5"]
TINY = {"embed_dim": 8, "depths": (2, 2, 3, 1), "num_heads": (1, 2, 4, 2), "window_size": 3}
VARIANTS = {  # embed_dim, depths, num_heads, millions of parameters with a classifier of 1000
    "T": (96, [2, 2, 6, 2], [3, 6, 12, 24], 28.29),
    "S": (96, [2, 2, 18, 2], [3, 6, 12, 24], 49.61),
    "B": (128, [2, 2, 18, 2], [4, 8, 16, 32], 87.77),
    "L": (192, [2, 2, 18, 2], [6, 12, 24, 48], 196.53),
}


def make_swin(out_features=STAGES, seed=0, **arguments):
    """A small float64 model whose parameters are all far from their first values."""
    torch.manual_seed(seed)
    swin = SwinTransformer(out_features, **{"drop_path_rate": 0.0, **TINY, **arguments}).double()
    with torch.no_grad():
        for parameter in swin.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return swin


def make_images(height, width, batch=1):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, height, width, generator=generator, dtype=torch.float64)


def outputs_and_gradients(function, images, parameters):
    images = images.clone().requires_grad_()
    outputs = function(images)
    generator = torch.Generator().manual_seed(2)
    cotangents = {
        name: torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
        for name, output in sorted(outputs.items())
    }
    total = sum((outputs[name] * cotangents[name]).sum() for name in cotangents)
    return outputs, torch.autograd.grad(total, [images, *parameters])


def assert_same(actual, expected, tolerance):
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(
            one, other, rtol=0, atol=tolerance * max(1, other.abs().max().item())
        )


# --- The naive double: one image, every token attends to every other, windows are a rule. --------


def naive_attention(attention, tokens, window, shift):
    """Attend to tokens (H, W, C), padded with zeros to whole windows, then rolled."""
    height, width, channels = tokens.shape
    full_height, full_width = (-(-length // window) * window for length in (height, width))
    padded = tokens.new_zeros(full_height, full_width, channels)
    padded[:height, :width] = tokens
    places = []  # of every token: its window, its place in it, and whether it was rolled round
    for y in range(full_height):
        for x in range(full_width):
            ry, rx = (y - shift) % full_height, (x - shift) % full_width
            round_y, round_x = y < shift, x < shift
            places.append(
                ((ry // window, rx // window), (ry % window, rx % window), (round_y, round_x))
            )
    heads = attention.num_heads
    query, key, value = attention.qkv(padded.view(-1, channels)).chunk(3, dim=-1)
    outputs = []
    for i, (window_i, place_i, round_i) in enumerate(places):
        others = [j for j, place in enumerate(places) if place[0] == window_i]
        scores = []
        for j in others:
            _, place_j, round_j = places[j]
            dy, dx = place_i[0] - place_j[0], place_i[1] - place_j[1]
            row = (dy + window - 1) * (2 * window - 1) + dx + window - 1
            products = (query[i] * key[j]).view(heads, -1).sum(1) / (channels // heads) ** 0.5
            apart = 0.0 if round_i == round_j else -100.0
            scores.append(products + attention.relative_position_bias_table[row] + apart)
        weights = torch.stack(scores).softmax(0)
        values = value[others].view(len(others), heads, -1)
        outputs.append((weights[:, :, None] * values).sum(0).flatten())
    attended = attention.proj(torch.stack(outputs))
    return attended.view(full_height, full_width, channels)[:height, :width]


def naive_norm(tokens, norm):
    mean = tokens.mean(-1, keepdim=True)
    deviation = ((tokens - mean).square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return (tokens - mean) / deviation * norm.weight + norm.bias


def naive_merge(tokens, merging):
    height, width, channels = tokens.shape
    padded = tokens.new_zeros(height + height % 2, width + width % 2, channels)
    padded[:height, :width] = tokens
    quarters = [padded[y::2, x::2] for y, x in ((0, 0), (1, 0), (0, 1), (1, 1))]
    return naive_norm(torch.cat(quarters, -1), merging.norm) @ merging.reduction.weight.T


def naive_swin(swin, image, window):
    proj = swin.patch_embed.proj
    image = F.pad(image, (0, -image.shape[2] % 4, 0, -image.shape[1] % 4))
    patches = image.unfold(1, 4, 4).unfold(2, 4, 4).permute(1, 2, 0, 3, 4).flatten(2)
    tokens = naive_norm(patches @ proj.weight.flatten(1).T + proj.bias, swin.patch_embed.norm)
    features = {}
    for index, stage in enumerate(swin.layers):
        for number, block in enumerate(stage.blocks):
            shift = window // 2 if number % 2 else 0
            tokens = tokens + naive_attention(
                block.attn, naive_norm(tokens, block.norm1), window, shift
            )
            hidden = block.mlp.fc1(naive_norm(tokens, block.norm2))
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
            tokens = tokens + block.mlp.fc2(hidden)
        features[f"stage{index + 2}"] = naive_norm(
            tokens, swin.get_submodule(f"norm{index}")
        ).permute(2, 0, 1)
        if stage.downsample is not None:
            tokens = naive_merge(tokens, stage.downsample)
    return features


@pytest.mark.parametrize(("height", "width", "batch"), [(48, 24, 1), (27, 34, 3), (5, 9, 1)])
def test_equals_the_naive_double_forward_and_backward(height, width, batch):
    swin = make_swin(depths=(2, 2, 1, 2))
    parameters = list(swin.parameters())
    images = make_images(height, width, batch)

    def naive(images):
        samples = [naive_swin(swin, image, window=3) for image in images]
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}

    outputs, grads = outputs_and_gradients(swin, images, parameters)
    expected, expected_grads = outputs_and_gradients(naive, images, parameters)
    assert list(outputs) == list(expected)
    assert_same(outputs.values(), expected.values(), 1e-10)
    assert_same(grads, expected_grads, 1e-10)


# --- timm's Swin, where every map is made of whole windows. ---------------------------------------


def timm_name(name):
    """Rename for timm: it merges as a stage begins, the official code as the one before ends."""
    parts = name.split(".")
    if parts[2:3] == ["downsample"]:
        parts[1] = str(int(parts[1]) + 1)
    return ".".join(parts)


def test_equals_timms_swin_at_sizes_of_whole_windows():
    settings = {**TINY, "depths": (2, 2, 2, 2), "window_size": 2}
    swin = make_swin(**settings).eval()
    theirs = TimmSwin(img_size=(128, 192), num_classes=0, **settings).double().eval()
    own = {timm_name(k): v for k, v in swin.state_dict().items() if not k.startswith("norm")}
    report = theirs.load_state_dict(own, strict=False)
    assert not report.unexpected_keys
    assert set(report.missing_keys) == {"norm.weight", "norm.bias"}
    images = make_images(128, 192, batch=2)
    expected = theirs.forward_intermediates(images, norm=False, intermediates_only=True)
    for index, (name, feature) in enumerate(swin(images).items()):
        norm = swin.get_submodule(f"norm{index}")
        normal = norm(expected[index].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        torch.testing.assert_close(feature, normal, rtol=0, atol=1e-10, msg=name)


# --- The official module. -------------------------------------------------------------------------


@pytest.fixture
def official(monkeypatch):
    """The official module, loaded from the checkout beside stand-ins for what it imports."""
    source = os.environ.get("DYNAMICHEAD_SOURCE")
    if not source:
        pytest.skip("set DYNAMICHEAD_SOURCE to a checkout of microsoft/DynamicHead")

    def load(name, **attributes):
        module = types.ModuleType(name)
        module.__path__ = []
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)

    for name in ("detectron2", "detectron2.modeling"):
        load(name)
    load("detectron2.layers", ShapeSpec=ShapeSpec)
    load("detectron2.modeling.backbone", Backbone=nn.Module)
    load("detectron2.modeling.backbone.build", BACKBONE_REGISTRY=Registry("BACKBONE"))
    unused = dict.fromkeys(("FPN", "LastLevelMaxPool", "LastLevelP6P7"))
    load("detectron2.modeling.backbone.fpn", **unused)
    load("timm.models.layers", **vars(timm.layers))
    monkeypatch.setattr(dyhead, "DyHead", None, raising=False)
    path = Path(source, "extra", "swint.py")
    spec = importlib.util.spec_from_file_location("official_swint", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_config(**keys):
    cfg = get_cfg()
    add_dyhead_config(cfg)
    for key, value in keys.items():
        cfg.MODEL.SWINT[key] = value
    return cfg


def build_swint(cfg):
    return BACKBONE_REGISTRY.get("build_swint_backbone")(cfg, ShapeSpec(channels=3))


def tiny_config(**keys):
    tiny = {"EMBED_DIM": 8, "DEPTHS": [2, 2, 3, 1], "NUM_HEADS": [1, 2, 4, 2], "WINDOW_SIZE": 3}
    return make_config(**{**tiny, "DROP_PATH_RATE": 0.0, **keys})


def both(official, cfg):
    """Ours and theirs from one config, with the same weights under the same names."""
    ours, theirs = build_swint(cfg), official.build_swint_backbone(cfg, ShapeSpec(channels=3))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    weights = dict(theirs.named_parameters())
    report = ours.load_state_dict(weights, strict=True)
    assert not report.missing_keys
    return ours, theirs, list(weights)


@pytest.mark.filterwarnings("ignore:.*meshgrid.*")
@pytest.mark.parametrize(("height", "width", "batch"), [(96, 96, 1), (90, 123, 3), (7, 5, 1)])
@pytest.mark.parametrize(
    ("dtype", "forward", "backward"),
    [(torch.float64, 1e-10, 1e-10), (torch.float32, 1e-5, 1e-4)],
    ids=["float64", "float32"],
)
@pytest.mark.parametrize("keys", [{}, {"APE": True, "WINDOW_SIZE": 4, "MLP_RATIO": 2}])
def test_equals_the_official_module(official, keys, dtype, forward, backward, height, width, batch):
    torch.manual_seed(0)
    ours, theirs, names = both(official, tiny_config(**keys))
    results = []
    for swin in (ours, theirs):
        swin.to(dtype)
        parameters = [swin.get_parameter(name) for name in names]
        images = make_images(height, width, batch).to(dtype)
        results.append(outputs_and_gradients(swin, images, parameters))
    (outputs, grads), (expected, expected_grads) = results
    assert list(outputs) == list(expected)
    assert_same(outputs.values(), expected.values(), forward)
    assert_same(grads, expected_grads, backward)


@pytest.mark.filterwarnings("ignore:.*meshgrid.*")
def test_has_the_official_names_and_shapes_in_full_size(official):
    cfg = make_config(OUT_FEATURES=["stage3", "stage4", "stage5"])
    with torch.device("meta"):
        ours = build_swint(cfg)
    theirs = official.build_swint_backbone(cfg, ShapeSpec(channels=3))
    expected = {name: parameter.shape for name, parameter in theirs.named_parameters()}
    assert {name: parameter.shape for name, parameter in ours.named_parameters()} == expected
    assert ours.output_shape() == theirs.output_shape()


@pytest.mark.filterwarnings("ignore:.*meshgrid.*")
@pytest.mark.parametrize("freeze_at", [-1, 0, 1, 2, 3, 5])
def test_freezes_what_the_official_module_freezes(official, freeze_at):
    cfg = tiny_config(APE=True)
    cfg.MODEL.BACKBONE.FREEZE_AT = freeze_at
    ours, theirs, names = both(official, cfg)
    frozen = {name for name in names if not theirs.get_parameter(name).requires_grad}
    assert {name for name in names if not ours.get_parameter(name).requires_grad} == frozen


# --- What needs no other implementation. ----------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_its_number_of_parameters(variant):
    embed_dim, depths, num_heads, millions = VARIANTS[variant]
    cfg = make_config(EMBED_DIM=embed_dim, DEPTHS=depths, NUM_HEADS=num_heads)
    cfg.MODEL.SWINT.OUT_FEATURES = ["stage5"]
    with torch.device("meta"):
        swin = build_swint(cfg)
    classifier = 8 * embed_dim * 1000 + 1000
    total = sum(parameter.numel() for parameter in swin.parameters()) + classifier
    assert round(total / 1e6, 2) == millions


@pytest.mark.parametrize(("height", "width"), [(64, 96), (61, 35), (3, 2)])
def test_outputs_are_what_output_shape_says(height, width):
    swin = make_swin(["stage2", "stage4", "stage5"])
    assert swin.output_shape() == {
        "stage2": ShapeSpec(channels=8, stride=4),
        "stage4": ShapeSpec(channels=32, stride=16),
        "stage5": ShapeSpec(channels=64, stride=32),
    }
    outputs = swin(make_images(height, width, batch=2))
    assert {name: output.shape for name, output in outputs.items()} == {
        name: (2, shape.channels, -(-height // shape.stride), -(-width // shape.stride))
        for name, shape in swin.output_shape().items()
    }


def test_stages_that_no_output_needs_are_left_out_and_all_others_trained():
    swin = make_swin(["stage3"])
    whole = make_swin(["stage3", "stage5"])
    assert set(swin.state_dict()) < set(whole.state_dict())
    assert len(swin.layers) == 2
    swin(make_images(32, 32))["stage3"].square().mean().backward()
    assert all(parameter.grad.any() for parameter in swin.parameters())
    whole.load_state_dict(swin.state_dict(), strict=False)
    images = make_images(32, 40)
    assert whole(images)["stage3"].equal(swin(images)["stage3"])


def test_checkpointing_changes_neither_outputs_nor_gradients():
    results, saved = [], []
    for use_checkpoint in (False, True):
        swin = make_swin(drop_path_rate=0.5, use_checkpoint=use_checkpoint).train()
        sizes = []
        torch.manual_seed(5)

        def pack(tensor, sizes=sizes):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            results.append(
                outputs_and_gradients(swin, make_images(50, 66, 2), list(swin.parameters()))
            )
        saved.append(sum(sizes))
    (outputs, grads), (expected, expected_grads) = results
    assert_same(outputs.values(), expected.values(), 1e-12)
    assert_same(grads, expected_grads, 1e-12)
    assert saved[1] < saved[0] / 2


def test_drop_path_grows_linearly_and_acts_in_training_only():
    swin = make_swin(drop_path_rate=0.7)
    rates = [block.drop_path.drop_prob for stage in swin.layers for block in stage.blocks]
    torch.testing.assert_close(rates, [0.1 * number for number in range(8)])
    images = make_images(32, 32)
    evaluated = swin.eval()(images)["stage5"]
    assert evaluated.equal(swin(images)["stage5"])
    assert not evaluated.equal(swin.train()(images)["stage5"])


def test_frozen_stages_stay_in_evaluation_mode():
    swin = make_swin(["stage3"], drop_path_rate=0.9, freeze_at=3).train()
    images = make_images(32, 32)
    assert swin(images)["stage3"].equal(swin(images)["stage3"])
    trained = {name for name, parameter in swin.named_parameters() if parameter.requires_grad}
    assert trained == {"norm1.weight", "norm1.bias"}
    assert swin.norm1.training and not swin.layers[0].blocks[1].training


def test_starts_from_small_weights_and_zero_biases():
    torch.manual_seed(0)
    swin = SwinTransformer(STAGES, **TINY)
    for name, parameter in swin.layers.named_parameters():
        if name.endswith("relative_position_bias_table") or "norm" not in name:
            limit = 0 if name.endswith("bias") else 0.1
            assert parameter.abs().max() <= limit, name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_computes_in_half_precision(dtype):
    swin = make_swin().eval()
    images = make_images(40, 52)
    expected = swin(images)["stage5"]
    output = swin.to(dtype)(images.to(dtype))["stage5"]
    assert output.dtype == dtype
    assert (output.double() - expected).abs().max() < 0.3


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"VERSION": 2}, "MODEL.SWINT.VERSION 2 is not supported: set it to 1"),
        ({"OUT_NORM": False}, "MODEL.SWINT.OUT_NORM False is not supported: set it to True"),
        ({"DEPTHS": [2, 2]}, "MODEL.SWINT.DEPTHS.*NUM_HEADS.*one number per stage"),
        ({"OUT_FEATURES": ["res3"]}, "OUT_FEATURES.*stage2, stage3, stage4, stage5"),
        ({"OUT_FEATURES": []}, "OUT_FEATURES.*stage2, stage3, stage4, stage5"),
        ({"NUM_HEADS": [3, 2, 4, 2]}, "stage2 has 8 channels, no multiple of 3"),
        ({"WINDOW_SIZE": 0}, "WINDOW_SIZE 0 must be at least 1"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(keys, message):
    with pytest.raises(ValueError, match=message):
        build_swint(tiny_config(**keys))
