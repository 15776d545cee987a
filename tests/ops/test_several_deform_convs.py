"""Several convolutions at once, on plain PyTorch and torchvision, as one by one."""

import functools

import deform_conv_cases
import pytest
import torch
from deform_conv_cases import GEOMETRIES

from dyhead.ops import (
    DeformConv,
    foreach_deform_conv_with_moments,
    foreach_modulated_deform_conv2d,
    modulated_deform_conv2d,
)
from dyhead.ops.pytorch.embedding_bag import PyTorchBackend

BACKENDS = ("pytorch", "torchvision")
make_arguments = functools.partial(deform_conv_cases.make_arguments, dtype=torch.float64)


@pytest.mark.parametrize("backend", BACKENDS)
def test_several_convolutions_at_once_equal_them_one_by_one(backend):
    calls = [DeformConv(*make_arguments(*geometry), *geometry[1:]) for geometry in GEOMETRIES]
    outputs = foreach_modulated_deform_conv2d(calls, backend)
    for output, call in zip(outputs, calls, strict=True):
        torch.testing.assert_close(output, modulated_deform_conv2d(*call, backend=backend))


def test_no_convolution_at_all():
    assert foreach_modulated_deform_conv2d([]) == []


def test_several_convolutions_need_one_type():
    first = DeformConv(*make_arguments(*GEOMETRIES[0]), *GEOMETRIES[0][1:])
    second = DeformConv(*(tensor.float() for tensor in first[:5]), *first[5:])
    with pytest.raises(ValueError, match="one device and one type"):
        foreach_modulated_deform_conv2d([first, second])
    with pytest.raises(ValueError, match="one device and one type"):
        foreach_deform_conv_with_moments([first, second], [(13, 11), (13, 11)])


def test_moments_need_a_level_for_each_convolution():
    call = DeformConv(*make_arguments(*GEOMETRIES[0]), *GEOMETRIES[0][1:])
    with pytest.raises(ValueError, match="2 convolutions need as many sizes, got 1"):
        foreach_deform_conv_with_moments([call, call], [(13, 11)])
    with pytest.raises(ValueError, match="level of 13 x 10 is smaller than the 13 x 11 output"):
        foreach_deform_conv_with_moments([call], [(13, 10)])


@pytest.mark.parametrize("backend", BACKENDS)
def test_back_ends_that_take_no_moments_say_so(backend):
    call = DeformConv(*make_arguments(*GEOMETRIES[0]), *GEOMETRIES[0][1:])
    (output,), moments = foreach_deform_conv_with_moments([call], [(13, 11)], backend)
    torch.testing.assert_close(output, modulated_deform_conv2d(*call, backend=backend))
    assert moments is None


def test_what_convolutions_share_they_share_under_autocast_too(monkeypatch):
    taken = []
    forward = PyTorchBackend.forward
    monkeypatch.setattr(
        PyTorchBackend,
        "forward",
        lambda self, calls, packed: taken.extend(calls) or forward(self, calls, packed),
    )
    arguments = [tensor.float() for tensor in make_arguments(*GEOMETRIES[0])]
    with torch.autocast("cpu", torch.bfloat16):
        outputs = foreach_modulated_deform_conv2d(
            [DeformConv(*arguments, padding=1), DeformConv(*arguments, padding=1)], "pytorch"
        )
    assert torch.equal(*outputs)
    assert all(first is second for first, second in zip(taken[0][:5], taken[1][:5], strict=True))
    assert taken[0][0].dtype == torch.bfloat16


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_may_be_overwritten(backend):
    tensors = [tensor.requires_grad_() for tensor in make_arguments(*GEOMETRIES[0])]
    calls = [DeformConv(*tensors, padding=1)] * 2
    plain = modulated_deform_conv2d(*tensors, padding=1, backend=backend)
    expected = torch.autograd.grad(plain.relu().sum() + plain.sum(), tensors)
    first, second = foreach_modulated_deform_conv2d(calls, backend)
    first.relu_()
    for ours, theirs in zip(
        torch.autograd.grad(first.sum() + second.sum(), tensors), expected, strict=True
    ):
        torch.testing.assert_close(ours, theirs)
