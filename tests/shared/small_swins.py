"""Small Swin Transformers, images for them, and how to compare two."""

import torch

import dyhead.modeling  # noqa: F401  registers the backbones
from dyhead.config import add_dyhead_config
from dyhead.d2.config import get_cfg
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import BACKBONE_REGISTRY

TINY = {"embed_dim": 8, "depths": (2, 2, 3, 1), "num_heads": (1, 2, 4, 2), "window_size": 3}


def make_images(height, width, batch=1):
    """Random images in float64."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, height, width, generator=generator, dtype=torch.float64)


def outputs_and_gradients(function, images, parameters):
    """Feature maps by name, and the gradients of images and parameters."""
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
    """Compare tensors by the largest magnitude of each."""
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(
            one, other, rtol=0, atol=tolerance * max(1, other.abs().max().item())
        )


def make_config(**keys):
    """A config with keys of MODEL.SWINT."""
    cfg = get_cfg()
    add_dyhead_config(cfg)
    for key, value in keys.items():
        cfg.MODEL.SWINT[key] = value
    return cfg


def build_swint(cfg):
    """Ours, as registered."""
    return BACKBONE_REGISTRY.get("build_swint_backbone")(cfg, ShapeSpec(channels=3))


def tiny_config(**keys):
    """A config of a tiny model, with keys of MODEL.SWINT."""
    tiny = {"EMBED_DIM": 8, "DEPTHS": [2, 2, 3, 1], "NUM_HEADS": [1, 2, 4, 2], "WINDOW_SIZE": 3}
    return make_config(**{**tiny, "DROP_PATH_RATE": 0.0, **keys})
