"""The Swin Transformer against a naive double and timm's, and by its own properties."""

import pytest
import torch
from small_swins import (
    TINY,
    assert_same,
    build_swint,
    make_config,
    make_images,
    outputs_and_gradients,
    tiny_config,
)
from swin_double import naive_swin
from timm.models.swin_transformer import SwinTransformer as TimmSwin

from dyhead.d2.layers import ShapeSpec
from dyhead.modeling.backbone import SwinTransformer

STAGES = ["stage2", "stage3", "stage4", "stage5"]

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
