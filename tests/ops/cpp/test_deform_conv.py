"""The C++ deformable convolution against a naive loop and the plain back end in float64."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from convolve_by import all_by, by_cpp, by_pytorch
from torch import Tensor

from dyhead.ops.cpp import extension

pytestmark = pytest.mark.skipif(
    not extension.load(), reason="the C++ extension is not there (no compiler, or DYHEAD_CPP=0)"
)

ONE = ((1, 1), (1, 1), (1, 1))
GEOMETRIES = [  # kernel, stride, padding, dilation
    ((3, 3), *ONE),
    ((3, 3), (2, 2), (1, 1), (1, 1)),
    ((1, 1), (1, 1), (0, 0), (1, 1)),
    ((2, 3), (2, 1), (0, 2), (1, 2)),
    ((3, 1), (1, 3), (2, 1), (2, 3)),
    ((5, 5), (1, 1), (2, 2), (1, 1)),
]
CHANNELS = [(1, 1), (3, 5), (17, 33), (64, 64), (100, 70)]
# Of float32, of its products in bfloat16 parts, and of bfloat16; relative to the largest value.
TOLERANCE = {"highest": 5e-6, "high": 2e-5, "medium": 1e-2}
NAMES = ("output", "input", "offset", "mask", "weight", "bias")

needs_bf16 = pytest.mark.skipif(
    not (extension.load() and torch.ops.dyhead.bf16_product_works()),
    reason="torch has no bfloat16 matrix product for this processor",
)


@pytest.fixture(params=["highest", pytest.param("high", marks=needs_bf16), "medium"])
def precision(request):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision(before)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def make_arguments(kernel, stride, padding, dilation, *, channels=(17, 33), batch=2, size=(13, 11)):
    """Random float32 input, offset, mask, weight and bias that fit together."""
    out_size = [
        (length + 2 * p - d * (k - 1) - 1) // s + 1
        for length, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    ]
    taps, (ins, outs) = math.prod(kernel), channels
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    return [
        normal(batch, ins, *size),
        normal(batch, 2 * taps, *out_size) * 2,
        normal(batch, taps, *out_size).sigmoid(),
        normal(outs, ins, *kernel) / (ins * taps) ** 0.5,
        normal(outs),
    ]


def in_bfloat16(arguments):
    """Coordinates and their weights stay float32."""
    return [t if i in (1, 2) else t.bfloat16() for i, t in enumerate(arguments)]


def pixel(image: Tensor, y: int, x: int) -> Tensor:
    inside = 0 <= y < image.shape[1] and 0 <= x < image.shape[2]
    return image[:, y, x] if inside else torch.zeros_like(image[:, 0, 0])


def naive(input, offset, mask, weight, bias, stride, padding, dilation):
    """The definition, one output position and tap at a time."""
    output = input.new_zeros(len(input), len(weight), *offset.shape[2:])
    for n, y, x in itertools.product(*map(range, (len(input), *offset.shape[2:]))):
        total = bias.clone()
        for k, (i, j) in enumerate(itertools.product(*map(range, weight.shape[2:]))):
            at_y = y * stride[0] - padding[0] + i * dilation[0] + offset[n, 2 * k, y, x].item()
            at_x = x * stride[1] - padding[1] + j * dilation[1] + offset[n, 2 * k + 1, y, x].item()
            top, left = math.floor(at_y), math.floor(at_x)
            value = torch.zeros_like(input[n, :, 0, 0])
            for dy, dx in itertools.product((0, 1), (0, 1)):
                share = (1 - abs(at_y - top - dy)) * (1 - abs(at_x - left - dx))
                value += share * pixel(input[n], top + dy, left + dx)
            total += weight[:, :, i, j] @ (value * mask[n, k, y, x])
        output[n, :, y, x] = total
    return output


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
    expected = naive(*[argument.double() for argument in arguments], *geometry[1:])
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
