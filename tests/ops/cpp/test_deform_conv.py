"""The C++ deformable convolution against a naive loop and the plain back end in float64."""

import math

import pytest
import torch
from convolve_by import by_cpp, by_pytorch
from deform_conv_cases import GEOMETRIES, ONE, in_bfloat16, make_arguments, naive_deform_conv

from dyhead.ops.cpp import extension

pytestmark = pytest.mark.skipif(
    not extension.load(), reason="the C++ extension is not there (no compiler, or DYHEAD_CPP=0)"
)

CHANNELS = [(1, 1), (3, 5), (17, 33), (64, 64), (100, 70)]
# Of float32, of its products in bfloat16 parts, and of bfloat16; relative to the largest value.
TOLERANCE = {"highest": 5e-6, "high": 2e-5, "medium": 1e-2}
NAMES = ("output", "input", "offset", "mask", "weight", "bias")


def results(function, arguments, *geometry):
    """Output and gradients of all five arguments, in float64 for comparison."""
    leaves = [argument.clone().requires_grad_() for argument in arguments]
    output = function(*leaves, *geometry)
    generator = torch.Generator().manual_seed(1)
    cotangent = torch.randn(output.shape, generator=generator).bfloat16().to(output.dtype)
    return [output.detach(), *torch.autograd.grad(output, leaves, cotangent)]


def assert_all_close(actual, expected, tolerance):
    for name, one, other in zip(NAMES, actual, expected, strict=True):
        error = (one.double() - other).abs().max() / other.abs().max()
        assert error <= tolerance, f"{name}: {error:.1e}"


@pytest.mark.parametrize("geometry", GEOMETRIES[:5])
def test_equals_the_naive_loop(geometry):
    arguments = make_arguments(*geometry, channels=(3, 4), size=(5, 6))
    output = by_cpp(*arguments, *geometry[1:])
    expected = naive_deform_conv(*[argument.double() for argument in arguments], *geometry[1:])
    torch.testing.assert_close(output.double(), expected, rtol=1e-5, atol=1e-5)
    assert output.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_equals_the_plain_back_end_in_float64(geometry, channels, precision):
    arguments = make_arguments(*geometry, channels=channels)
    doubles = [argument.double() for argument in arguments]
    expected = results(by_pytorch, doubles, *geometry[1:])
    actual = results(by_cpp, arguments, *geometry[1:])
    assert_all_close(actual, expected, TOLERANCE[precision])
    assert {tensor.dtype for tensor in actual} == {torch.float32}


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_bfloat16_rounds_operands_and_results_only(geometry, channels):
    arguments = in_bfloat16(make_arguments(*geometry, channels=channels))
    doubles = [argument.double() for argument in arguments]
    expected = results(by_pytorch, doubles, *geometry[1:])
    actual = results(by_cpp, arguments, *geometry[1:])
    assert_all_close(actual, expected, 1e-2)
    dtypes = [tensor.dtype for tensor in arguments]
    assert [tensor.dtype for tensor in actual] == [torch.bfloat16, *dtypes]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bits_every_time_and_forward_on_any_number_of_threads(dtype, threads):
    arguments = make_arguments(*GEOMETRIES[0], channels=(100, 70), batch=3, size=(20, 21))
    arguments = arguments if dtype == torch.float32 else in_bfloat16(arguments)
    first, second = (results(by_cpp, arguments, *ONE) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)
    torch.set_num_threads(3 - threads)
    assert torch.equal(by_cpp(*arguments, *ONE), first[0])


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_threads_do_not_change_the_result(batch, threads):
    arguments = make_arguments(*GEOMETRIES[1], channels=(64, 20), batch=batch, size=(30, 22))
    doubles = [argument.double() for argument in arguments]
    expected = results(by_pytorch, doubles, *GEOMETRIES[1][1:])
    assert_all_close(results(by_cpp, arguments, *GEOMETRIES[1][1:]), expected, 5e-6)


def test_an_image_of_many_tiles():
    arguments = make_arguments(*GEOMETRIES[0], channels=(256, 256), batch=1, size=(31, 29))
    doubles = [argument.double() for argument in arguments]
    expected = results(by_pytorch, doubles, *ONE)
    assert_all_close(results(by_cpp, arguments, *ONE), expected, 1e-5)


@pytest.mark.parametrize("needed", range(5))
def test_gradient_of_one_argument_alone(needed):
    arguments = make_arguments(*GEOMETRIES[0])
    expected = results(by_cpp, arguments, *ONE)[1 + needed]
    arguments[needed].requires_grad_()
    output = by_cpp(*arguments, *ONE)
    generator = torch.Generator().manual_seed(1)
    output.backward(torch.randn(output.shape, generator=generator).bfloat16().float())
    torch.testing.assert_close(arguments[needed].grad, expected)


def test_saves_nothing_but_its_arguments():
    saved = []
    arguments = [argument.requires_grad_() for argument in make_arguments(*GEOMETRIES[0])]
    with torch.autograd.graph.saved_tensors_hooks(saved.append, lambda tensor: tensor):
        by_cpp(*arguments, *ONE)
    assert {t.data_ptr() for t in saved} == {argument.data_ptr() for argument in arguments[:4]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("distance", [1e3, 1e12, -1e30])
def test_offsets_far_outside_read_zero(dtype, distance):
    arguments = make_arguments(*GEOMETRIES[0])
    arguments[1] += distance
    arguments = arguments if dtype == torch.float32 else in_bfloat16(arguments)
    output, *grads = results(by_cpp, arguments, *ONE)
    assert torch.equal(output, arguments[4].view(1, -1, 1, 1).expand_as(output))
    assert not any(grad.any() for grad in grads[:4])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_offsets_that_are_no_numbers_stay_local(value):
    arguments = make_arguments(*GEOMETRIES[0], batch=1)
    expected = by_cpp(*arguments, *ONE)
    arguments[1][0, 0, 2, 3] = value
    output, *_ = results(by_cpp, arguments, *ONE)
    assert output[0, :, 2, 3].isnan().all()
    output[0, :, 2, 3] = expected[0, :, 2, 3]
    assert torch.equal(output, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_empty_batch(dtype):
    arguments = make_arguments(*GEOMETRIES[0], batch=0)
    arguments = arguments if dtype == torch.float32 else in_bfloat16(arguments)
    output, *grads = results(by_cpp, arguments, *ONE)
    assert output.shape == (0, 33, 13, 11)
    for grad, argument in zip(grads, arguments, strict=True):
        assert grad.shape == argument.shape
        assert not grad.any()


def test_any_memory_format():
    arguments = make_arguments(*GEOMETRIES[3])
    expected = results(by_cpp, arguments, *GEOMETRIES[3][1:])
    channels_last = [
        argument.contiguous(memory_format=torch.channels_last) if argument.dim() == 4 else argument
        for argument in arguments
    ]
    transposed = [
        argument.mT.contiguous().mT if argument.dim() == 4 else argument for argument in arguments
    ]
    for laid_out in (channels_last, transposed):
        actual = results(by_cpp, laid_out, *GEOMETRIES[3][1:])
        for one, other in zip(actual, expected, strict=True):
            torch.testing.assert_close(one, other)
        assert actual[4].stride() == laid_out[3].stride()  # so that optimizers need not copy it


def test_cotangents_of_any_layout():
    arguments = [argument.requires_grad_() for argument in make_arguments(*GEOMETRIES[0])]
    output = by_cpp(*arguments, *ONE)
    expanded = torch.autograd.grad(output.sum(), arguments, retain_graph=True)
    contiguous = torch.autograd.grad(output, arguments, torch.ones(output.shape))
    for one, other in zip(expanded, contiguous, strict=True):
        assert torch.equal(one, other)
