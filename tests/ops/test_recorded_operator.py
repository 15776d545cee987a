"""The deformable convolution under torch.compile: one node, the same values and gradients."""

import os
import shutil

import pytest
import torch
from torch import nn

from dyhead.ops import choose_backend, modulated_deform_conv2d
from dyhead.ops.cpp import extension
from dyhead.ops.recording import deform_conv_as_operator, gradients_as_operator

BACKENDS = [
    "pytorch",
    "torchvision",
    pytest.param("cpp", marks=pytest.mark.skipif(not extension.load(), reason="no extension")),
]
NEEDS_COMPILER = pytest.mark.skipif(
    not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))), reason="no C++ compiler"
)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def make_arguments(dtype=torch.float32, layout=torch.contiguous_format, size=(6, 7)):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    x, weight = normal(2, 3, *size).to(dtype), normal(4, 3, 3, 3).to(dtype)
    maps = normal(2, 27, *size).to(memory_format=layout)  # as one convolution predicts them
    offset, mask = maps[:, :18] * 2, maps[:, 18:].sigmoid()
    tensors = x.to(memory_format=layout), offset, mask, weight, normal(4).to(dtype)
    return [tensor.detach().requires_grad_() for tensor in tensors]


def gradients(function, arguments):
    output = function(*arguments)
    cotangent = torch.linspace(-1, 1, output.numel()).view(output.shape).to(output.dtype)
    return output, torch.autograd.grad(output, arguments, cotangent)


def assert_same(actual, expected):
    torch.testing.assert_close(actual[0], expected[0], rtol=1e-4, atol=1e-4)
    for grad, expected_grad in zip(actual[1], expected[1], strict=True):
        assert grad.dtype == expected_grad.dtype
        torch.testing.assert_close(grad, expected_grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_compiles_without_a_graph_break_to_the_same_values(backend, layout):
    def convolve(*tensors):
        return modulated_deform_conv2d(*tensors, padding=1, backend=backend)

    arguments = make_arguments(layout=layout)
    compiled = torch.compile(convolve, fullgraph=True, backend="aot_eager")
    assert_same(gradients(compiled, arguments), gradients(convolve, arguments))


@pytest.mark.parametrize("backend", BACKENDS)
def test_autocast_is_kept(backend):
    def convolve(*tensors):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return modulated_deform_conv2d(*tensors, padding=1, backend=backend)

    arguments = make_arguments()
    compiled = torch.compile(convolve, fullgraph=True, backend="aot_eager")
    actual = gradients(compiled, arguments)
    assert actual[0].dtype == torch.bfloat16
    assert_same(actual, gradients(convolve, arguments))


def test_back_end_is_chosen_when_the_graph_runs(monkeypatch):
    chosen = []

    def choose_and_note(*arguments):
        chosen.append(choose_backend(*arguments))
        return chosen[-1]

    monkeypatch.setattr("dyhead.ops.recording.choose_backend", choose_and_note)
    compiled = torch.compile(modulated_deform_conv2d, fullgraph=True, backend="aot_eager")
    arguments = make_arguments()
    for backend in ("torchvision", "pytorch"):
        monkeypatch.setenv("DYHEAD_DEFORM_CONV", backend)
        compiled(*arguments, padding=1)
    assert chosen == ["torchvision", "pytorch"]


def test_sizes_may_change():
    compiled = torch.compile(
        modulated_deform_conv2d, fullgraph=True, dynamic=True, backend="aot_eager"
    )
    for size in ((6, 7), (9, 4)):
        arguments = make_arguments(size=size)
        expected = modulated_deform_conv2d(*arguments, padding=1, backend="pytorch")
        actual = compiled(*arguments, padding=1, backend="pytorch")
        torch.testing.assert_close(actual, expected)


@pytest.mark.slow
@NEEDS_COMPILER
def test_inductor_compiles_what_surrounds_it():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.predict = nn.Conv2d(3, 27, 3, padding=1)
            self.weight = nn.Parameter(torch.randn(8, 3, 3, 3))
            self.norm = nn.GroupNorm(2, 8)

        def forward(self, x):
            offset, mask = self.predict(x).split((18, 9), dim=1)
            convolved = modulated_deform_conv2d(
                x, offset, mask.sigmoid(), self.weight, padding=1, backend="pytorch"
            )
            return self.norm(convolved).relu()

    torch.manual_seed(0)
    branch = Branch().to(memory_format=torch.channels_last)
    x = torch.randn(1, 3, 6, 8, requires_grad=True)
    tensors = [x, *branch.parameters()]

    def run(function):
        output = function(x)
        return output, torch.autograd.grad((output * output).sum(), tensors)

    compiled = torch.compile(branch, fullgraph=True)
    (actual, actual_grads), (expected, grads) = run(compiled), run(branch)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    for actual_grad, grad in zip(actual_grads, grads, strict=True):
        torch.testing.assert_close(actual_grad, grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_operator_keeps_the_rules(backend, dtype):
    """Schema, gradient registration, and shapes, types and strides of what it describes."""
    x, offset, mask, weight, bias = make_arguments(dtype)
    geometry = [1, 1], [1, 1], [1, 1], backend
    torch.library.opcheck(deform_conv_as_operator, (x, offset, mask, weight, bias, *geometry))
    partly = (x.detach(), offset, mask, weight, None, *geometry)
    torch.library.opcheck(deform_conv_as_operator, partly)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradient_operator_keeps_the_rules(backend):
    tensors = [argument.detach() for argument in make_arguments()]
    grad = torch.ones(2, 4, 6, 7)
    for needed in ([True] * 5, [False, True, True, False, True]):
        torch.library.opcheck(
            gradients_as_operator, (grad, *tensors, [1, 1], [1, 1], [1, 1], backend, needed)
        )


def test_only_what_is_needed_gets_a_gradient():
    tensors = make_arguments()
    tensors[0], tensors[3] = tensors[0].detach(), tensors[3].detach()
    compiled = torch.compile(modulated_deform_conv2d, fullgraph=True, backend="aot_eager")
    compiled(*tensors, padding=1).sum().backward()
    assert [tensor.grad is not None for tensor in tensors] == [False, True, True, False, True]
