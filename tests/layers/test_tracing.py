"""Blocks and the tensor parts of detectors pass torch.jit.trace, on every CPU back end."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from dyhead.config import load_config
from dyhead.detector import build_detector
from dyhead.layers import BlockOptions, DyHeadBlock, DyHeadStack
from dyhead.ops import set_default_backend
from dyhead.ops.cpp import extension

CONFIG = Path(__file__).parents[2] / "configs" / "Base-ATSS-DyHead-R18-small.yaml"
BACKENDS = [
    "pytorch",
    "torchvision",
    pytest.param("cpp", marks=pytest.mark.skipif(not extension.load(), reason="no extension")),
]
SIZES = ((12, 13), (6, 7), (3, 4))


@pytest.fixture(params=BACKENDS)
def backend(request):
    set_default_backend(request.param)
    yield request.param
    set_default_backend("")


class OfList(nn.Module):
    """A module of a list of levels as one of tensors."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *levels):
        return tuple(self.module(list(levels)))


class TensorParts(nn.Module):
    """A detector up to where it decodes boxes."""

    def __init__(self, model):
        super().__init__()
        self.backbone, self.head, self.names = model.backbone, model.head, model.head_in_features

    def forward(self, images):
        pyramid = self.backbone(images)
        predictions = self.head([pyramid[name] for name in self.names])
        return tuple(level for kind in predictions for level in kind)


def make_levels(seed):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, 32, *size, generator=generator) for size in SIZES)


@torch.no_grad()
def assert_traced_is_the_same(module, inputs, others):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        trace = torch.jit.trace(module, inputs)
    for actual, expected in zip(trace(*others), module(*others), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("coarser_offsets", ["flat_read", "resize"])
def test_a_traced_block_computes_for_other_values(backend, coarser_offsets):
    torch.manual_seed(0)
    block = DyHeadBlock(32, 32, BlockOptions(coarser_offsets=coarser_offsets)).eval()
    assert_traced_is_the_same(OfList(block), make_levels(0), make_levels(1))


def test_a_traced_stack_computes_for_other_values(backend):
    torch.manual_seed(0)
    stack = DyHeadStack(32, 32, 2).eval()
    assert_traced_is_the_same(OfList(stack), make_levels(0), make_levels(1))


@pytest.mark.parametrize(
    "architecture",
    [
        "ATSS",
        pytest.param("FCOS", marks=pytest.mark.slow),
        pytest.param("DyHeadRetinaNet", marks=pytest.mark.slow),
        "RepPoints",  # which has deformable convolutions in its head too
    ],
)
def test_the_tensor_parts_of_a_traced_detector_compute_for_other_pictures(backend, architecture):
    settings = {
        "MODEL.META_ARCHITECTURE": architecture,
        "MODEL.DEVICE": "cpu",
        "MODEL.FPN.OUT_CHANNELS": 32,
        "MODEL.DYHEAD.CHANNELS": 32,
        "MODEL.DYHEAD.NUM_CONVS": 1,
        "MODEL.DEFORM_CONV_BACKEND": backend,
    }
    opts = [str(part) for item in settings.items() for part in item]
    torch.manual_seed(0)
    model = build_detector(load_config(str(CONFIG), opts)[0])
    inputs, others = torch.rand(2, 1, 3, 128, 128).unbind()
    assert_traced_is_the_same(TensorParts(model), (inputs,), (others,))
