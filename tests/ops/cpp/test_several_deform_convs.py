"""Convolutions that C++ computes at once, and the moments that it takes of their outputs."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from convolve_by import all_by, by_cpp
from deform_conv_cases import GEOMETRIES, ONE, in_bfloat16, make_arguments

from dyhead.ops.cpp import extension

pytestmark = pytest.mark.skipif(
    not extension.load(), reason="the C++ extension is not there (no compiler, or DYHEAD_CPP=0)"
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_convolutions_of_any_sizes_share_one_queue_of_tiles(dtype, precision, threads):
    calls = []
    for geometry, channels in itertools.product(GEOMETRIES, [(3, 5), (64, 64), (17, 130)]):
        arguments = make_arguments(*geometry, channels=channels, batch=3)
        arguments = arguments if dtype == torch.float32 else in_bfloat16(arguments)
        arguments[-1] = arguments[-1] if channels[0] > 3 else None
        calls.append((*arguments, *geometry[1:]))
    for output, call in zip(all_by("cpp", calls), calls, strict=True):
        assert output.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(output, by_cpp(*call))


@pytest.mark.parametrize("used", [[0], [1, 2]])
def test_gradients_of_convolutions_that_share_tensors(used):
    """Of some of the outputs, as of the convolutions one by one."""
    x, offset, mask, weight, bias = make_arguments((3, 3), *ONE)
    other = make_arguments((3, 3), *ONE, size=(6, 7))
    leaves = [tensor.requires_grad_() for tensor in (x, offset, mask, weight, bias)]
    calls = [
        (*leaves, *ONE),
        (2 * x, offset, mask, weight, None, *ONE),
        (*other[:3], weight, bias, *ONE),
    ]
    outcomes = []
    for outputs in (all_by("cpp", calls), [by_cpp(*c) for c in calls]):
        loss = sum(outputs[index].square().sum() for index in used)
        outcomes.append(torch.autograd.grad(loss, leaves, retain_graph=True))
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs)


def expected_moments(output, level_size):
    """In float64: mean, variance, and mean after upsampling."""
    exact = output.detach().double()
    variance, mean = torch.var_mean(exact, (2, 3), correction=0)
    upsampled = F.interpolate(exact, level_size, mode="bilinear", align_corners=True)
    return torch.stack((mean, variance, upsampled.mean((2, 3))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [(3, 1), (17, 33), (16, 130)])
def test_moments_are_those_of_the_values_that_are_written(channels, dtype, threads):
    """Of images of one tile and of several, on levels of their size and on finer ones."""
    sizes = [(13, 11), (1, 1), (1, 5), (31, 29)]
    level_sizes = [(13, 11), (2, 1), (2, 9), (61, 58)]
    calls = []
    for size in sizes:
        arguments = make_arguments((3, 3), *ONE, channels=channels, size=size)
        arguments[-1] += 100  # much larger than the deviation
        arguments = arguments if dtype == torch.float32 else in_bfloat16(arguments)
        calls.append((*(value.requires_grad_() for value in arguments), *ONE))
    outputs, moments = all_by("cpp", calls, level_sizes)
    for output, measured, call, size in zip(outputs, moments, calls, level_sizes, strict=True):
        assert torch.equal(output, by_cpp(*call))
        assert output.requires_grad
        assert not measured.requires_grad
        expected = expected_moments(output, size)
        torch.testing.assert_close(measured.double(), expected, rtol=1e-5, atol=1e-9)


def test_variance_of_deviations_much_smaller_than_the_mean():
    arguments = make_arguments((3, 3), *ONE)
    arguments[3], arguments[4] = 0.03 * arguments[3], arguments[4] + 300
    (output,), (moments,) = all_by("cpp", [(*arguments, *ONE)], [(13, 11)])
    expected = output.double().var((2, 3), correction=0)  # less than 0.0004
    torch.testing.assert_close(moments[1].double(), expected, rtol=2e-5, atol=0)


def test_what_convolutions_share_is_brought_into_its_layout_once(monkeypatch):
    """A map without channels_last, offsets that are slices, and one kernel."""
    x, offset, mask, weight, bias = make_arguments((3, 3), *ONE)
    joint = torch.cat((offset, mask), dim=1)
    call = (x, joint[:, :18], joint[:, 18:], weight, bias, *ONE)
    taken = []
    operator = torch.ops.dyhead.deform_conv_forward
    monkeypatch.setattr(
        torch.ops.dyhead, "deform_conv_forward", lambda *a: taken.extend(a[:5]) or operator(*a)
    )
    first, second = all_by("cpp", [call, call])
    assert torch.equal(first, second)
    assert torch.equal(first, by_cpp(x, offset, mask, weight, bias, *ONE))
    inputs, offsets, masks, _, _ = taken[:5]
    assert all(tensors[0] is tensors[1] for tensors in taken[:5])
    assert inputs[0].is_contiguous(memory_format=torch.channels_last)
    assert offsets[0].is_contiguous()
    assert masks[0].is_contiguous()


def test_moments_leave_the_gradients_as_they_are():
    arguments = [value.requires_grad_() for value in make_arguments((3, 3), *ONE)]
    call = (*arguments, *ONE)
    (output,), _ = all_by("cpp", [call], [(13, 11)])
    cotangent = torch.randn_like(output)
    actual = torch.autograd.grad(output, arguments, cotangent)
    expected = torch.autograd.grad(by_cpp(*call), arguments, cotangent)
    for ours, theirs in zip(actual, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_moments_of_what_is_not_a_number():
    arguments = make_arguments((1, 1), (1, 1), (0, 0), (1, 1))
    arguments[2][0, 0, 3, 4] = math.nan
    _, (moments,) = all_by("cpp", [(*arguments, (1, 1), (0, 0), (1, 1))], [(13, 11)])
    assert moments[:, 0].isnan().all()
    assert moments[:, 1].isfinite().all()


def test_moments_of_an_empty_batch():
    call = (*make_arguments((3, 3), *ONE, batch=0), *ONE)
    _, (moments,) = all_by("cpp", [call], [(13, 11)])
    assert moments.shape == (3, 0, 33)
