"""Small detectors with random numbers in every weight, for tests of checkpoints."""

from pathlib import Path

import torch
from torch import nn

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import build_model

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = [
    *("MODEL.DEVICE", "cpu", "MODEL.DYHEAD.NUM_CONVS", "1"),
    *("MODEL.DYHEAD.CHANNELS", "32", "MODEL.FPN.OUT_CHANNELS", "32"),
    *("MODEL.ATSS.NUM_CLASSES", "3"),
]
SMALL_SWIN = ["MODEL.SWINT.EMBED_DIM", "12", "MODEL.SWINT.DEPTHS", "[2, 2, 2, 2]"]
TINY_RESNET = ["MODEL.RESNETS.RES2_OUT_CHANNELS", "16", "MODEL.RESNETS.STEM_OUT_CHANNELS", "8"]


def make(config: str, *changes: str) -> tuple[CfgNode, nn.Module]:
    """A config and its model, small, with random numbers in every weight and statistic."""
    opts = [*SMALL, *(SMALL_SWIN if "swin" in config else TINY_RESNET), *changes]
    cfg, _ = load_config(str(CONFIGS / config), opts)
    torch.manual_seed(0)
    model = build_model(cfg)
    for value in [*model.parameters(), *(b for n, b in model.named_buffers() if "running" in n)]:
        nn.init.uniform_(value.data, 0.1, 1)
    return cfg, model.eval()


def randomise(model: nn.Module) -> None:
    """Give every weight and statistic of a network another value, the same ones each time."""
    torch.manual_seed(1)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5) if value.dim() == 1 else value.normal_(std=0.05)


def assert_same_weights(model: nn.Module, other: nn.Module) -> None:
    ours, theirs = model.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
