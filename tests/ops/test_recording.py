"""Traces, exports and tensors without data see the deformable convolution as one operator."""

import io
import warnings

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dyhead.ops import modulated_deform_conv2d
from dyhead.ops.cpp import extension
from dyhead.ops.recording import is_exported, is_recorded

BACKENDS = [
    "pytorch",
    "torchvision",
    pytest.param("cpp", marks=pytest.mark.skipif(not extension.load(), reason="no extension")),
]


def make_arguments():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    mask = normal(2, 9, 6, 7).sigmoid()
    return normal(2, 3, 6, 7), normal(2, 18, 6, 7) * 2, mask, normal(4, 3, 3, 3), normal(4)


class Convolution(nn.Module):
    def __init__(self, backend):
        super().__init__()
        self.backend = backend
        self.weight, self.bias = map(nn.Parameter, make_arguments()[3:])

    def forward(self, x, offset, mask):
        return modulated_deform_conv2d(
            x, offset, mask, self.weight, self.bias, padding=1, backend=self.backend
        )


def traced(module, inputs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return torch.jit.trace(module, inputs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trace_holds_one_node_and_computes_for_other_values(backend):
    module = Convolution(backend)
    x, offset, mask, *_ = make_arguments()
    trace = traced(module, (x, offset, mask))
    assert str(trace.inlined_graph).count("dyhead::modulated_deform_conv2d") == 1
    others = x.flip(0) * 2, offset.flip(1) * 3, mask.flip(2)
    torch.testing.assert_close(trace(*others), module(*others))


def test_a_trace_can_be_saved_and_loaded():
    module = Convolution("torchvision")
    inputs = make_arguments()[:3]
    file = io.BytesIO()
    torch.jit.save(traced(module, inputs), file)
    file.seek(0)
    torch.testing.assert_close(torch.jit.load(file)(*inputs), module(*inputs))


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_flow_through_a_trace(backend):
    module = Convolution(backend)
    inputs = make_arguments()[:3]
    trace = traced(module, inputs)
    grads = [
        torch.autograd.grad(run(*inputs).square().sum(), module.parameters())
        for run in (trace, module)
    ]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_without_data_get_a_result_of_the_right_shape(backend):
    arguments = make_arguments()
    expected = modulated_deform_conv2d(*arguments, padding=1, backend=backend)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fakes = [mode.from_tensor(each) for each in arguments]
        result = modulated_deform_conv2d(*fakes, padding=1, backend=backend)
    assert result.shape == expected.shape and result.dtype == expected.dtype


def test_plain_tensors_and_parameters_are_not_recorded():
    assert not is_recorded(torch.zeros(1), nn.Parameter(torch.zeros(1)))
    assert not is_exported()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_legacy_onnx_exporter_is_refused_in_one_sentence(backend):
    pytest.importorskip("onnx")
    module = Convolution(backend)
    inputs = make_arguments()[:3]
    caches = torch.is_autocast_cache_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match="legacy ONNX exporter cannot.*`dyhead export`"):
            torch.onnx.export(module, inputs, io.BytesIO(), dynamo=False)
    torch.set_autocast_cache_enabled(caches)  # an exporter that fails leaves it off
