"""Plain PyTorch and torchvision: against a naive loop, each other and gradcheck."""

import functools
import math

import deform_conv_cases
import pytest
import torch
from deform_conv_cases import naive_deform_conv
from torchvision.ops import deform_conv2d

from dyhead.ops import modulated_deform_conv2d
from dyhead.ops.pytorch import embedding_bag

BACKENDS = ("pytorch", "torchvision")
GEOMETRIES = [  # kernel, stride, padding, dilation
    ((3, 3), 1, 1, 1),
    ((3, 3), 2, 1, 1),
    ((1, 1), 1, 0, 1),
    ((2, 3), (2, 1), (0, 2), (1, 2)),
    ((3, 1), (1, 3), (2, 1), (2, 3)),
]
make_arguments = functools.partial(
    deform_conv_cases.make_arguments, channels=(3, 4), size=(6, 7), dtype=torch.float64
)


def gradients(function, arguments, *options):
    leaves = [argument.clone().requires_grad_() for argument in arguments]
    output = function(*leaves, *options)
    cotangent = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view(output.shape)
    return output, torch.autograd.grad(output, leaves, cotangent.to(output.dtype))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_equals_the_naive_loop(backend, geometry):
    arguments = make_arguments(*geometry)
    output = modulated_deform_conv2d(*arguments, *geometry[1:], backend=backend)
    torch.testing.assert_close(
        output, naive_deform_conv(*arguments, *geometry[1:]), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("chunk_values", [1, 100, 2**21])
def test_gradients_equal_torchvisions_whatever_the_chunk(geometry, chunk_values, monkeypatch):
    monkeypatch.setattr(embedding_bag, "CHUNK_VALUES", chunk_values)
    kernel, *options = geometry
    arguments = make_arguments(*geometry, batch=3, spread=3.0)
    output, grads = gradients(modulated_deform_conv2d, arguments, *options, "pytorch")
    expected, expected_grads = gradients(
        lambda x, o, m, w, b: deform_conv2d(x, o, w, b, *options, mask=m), arguments
    )
    torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-10)
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("geometry", GEOMETRIES[1:4])
def test_gradcheck(backend, geometry):
    arguments = make_arguments(*geometry, batch=1, size=(4, 5))
    leaves = [argument.requires_grad_() for argument in arguments]
    assert torch.autograd.gradcheck(
        lambda *tensors: modulated_deform_conv2d(*tensors, *geometry[1:], backend=backend), leaves
    )


@pytest.mark.parametrize("needed", range(5))
def test_gradient_of_one_argument_alone(needed):
    arguments = make_arguments(*GEOMETRIES[0])
    _, expected = gradients(modulated_deform_conv2d, arguments, 1, 1, 1, "pytorch")
    leaf = arguments[needed].clone().requires_grad_()
    output = modulated_deform_conv2d(
        *arguments[:needed], leaf, *arguments[needed + 1 :], 1, 1, 1, "pytorch"
    )
    cotangent = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view(output.shape)
    (grad,) = torch.autograd.grad(output, leaf, cotangent)
    torch.testing.assert_close(grad, expected[needed])


@pytest.mark.parametrize("backend", BACKENDS)
def test_zero_offset_and_full_mask_is_a_plain_convolution(backend):
    x, offset, mask, weight, bias = make_arguments(*GEOMETRIES[0])
    output = modulated_deform_conv2d(
        x, offset * 0, torch.ones_like(mask), weight, bias, padding=1, backend=backend
    )
    expected = torch.nn.functional.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("position", [-1.5, -1.0, -0.75, -0.25, 0.0, 2.0, 2.25, 2.75, 3.0, 3.5])
def test_border_pixels_count_by_their_share(position):
    """On a 1-pixel-high ramp 1, 2, 3: linear between pixels, fading to zero within one pixel."""
    ramp = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).view(1, 1, 1, 3)
    offset = torch.zeros(1, 2, 1, 3, dtype=torch.float64)
    offset[0, 1] = position - torch.arange(3)
    offset.requires_grad_()
    ones = torch.ones(1, 1, 1, 3, dtype=torch.float64)
    results = []
    for backend in BACKENDS:
        output = modulated_deform_conv2d(ramp, offset, ones, ones[..., :1], backend=backend)
        results.append((output, *torch.autograd.grad(output.sum(), offset)))
    padded = dict(zip(range(-2, 6), [0, 0, 1, 2, 3, 0, 0, 0], strict=True))
    left = math.floor(position)
    expected = padded[left] * (1 + left - position) + padded[left + 1] * (position - left)
    for output, grad in results:
        torch.testing.assert_close(output, torch.full_like(output, expected))
        torch.testing.assert_close(grad, results[0][1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_offsets_far_outside_read_zero(backend):
    x, offset, mask, weight, bias = make_arguments(*GEOMETRIES[0])
    leaves = x.requires_grad_(), offset.detach().add(1e12).requires_grad_()
    output = modulated_deform_conv2d(*leaves, mask, weight, bias, padding=1, backend=backend)
    torch.testing.assert_close(output, bias.view(1, -1, 1, 1).expand_as(output))
    for grad in torch.autograd.grad(output.sum(), leaves):
        assert not grad.any()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_offsets_that_are_no_numbers_stay_local(value):
    arguments = make_arguments(*GEOMETRIES[0], batch=1)
    expected = modulated_deform_conv2d(*arguments, padding=1, backend="pytorch")
    arguments[1][0, 0, 2, 3] = value
    output = modulated_deform_conv2d(*arguments, padding=1, backend="pytorch")
    assert output[0, :, 2, 3].isnan().all()
    output[0, :, 2, 3] = expected[0, :, 2, 3]
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_output_channel(backend, dtype):
    arguments = [tensor.to(dtype) for tensor in make_arguments((3, 3), 1, 1, 1)]
    one = [*arguments[:3], arguments[3][:1], arguments[4][:1]]

    def output_and_gradients(chosen):
        leaves = [tensor.detach().clone().requires_grad_() for tensor in one]
        output = modulated_deform_conv2d(*leaves, 1, 1, 1, chosen)
        ramp = torch.arange(output.numel(), dtype=dtype).view(output.shape)
        return output, *torch.autograd.grad(output, leaves, ramp)

    for actual, expected in zip(
        output_and_gradients(backend), output_and_gradients("torchvision"), strict=True
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_batch(backend):
    arguments = make_arguments(*GEOMETRIES[0], batch=0)
    output, grads = gradients(modulated_deform_conv2d, arguments, 1, 1, 1, backend)
    assert output.shape == (0, 4, 6, 7)
    for grad, argument in zip(grads, arguments, strict=True):
        assert grad.shape == argument.shape
        assert not grad.any()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_any_memory_format(memory_format):
    arguments = make_arguments(*GEOMETRIES[1])
    expected, expected_grads = gradients(modulated_deform_conv2d, arguments, 2, 1, 1, "torchvision")
    laid_out = [
        argument.contiguous(memory_format=memory_format) if argument.dim() == 4 else argument
        for argument in arguments
    ]
    output, grads = gradients(modulated_deform_conv2d, laid_out, 2, 1, 1, "pytorch")
    torch.testing.assert_close(output, expected)
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad, expected_grad)


def assert_close_for(dtype, actual, expected):
    """Compare by the largest magnitude: 16 bits keep 8 (bfloat16) or 11 digits of each operand."""
    tolerance = {torch.bfloat16: 2e-2, torch.float16: 3e-3}.get(dtype, 1e-5)
    error = (actual.double() - expected.double()).abs().max()
    assert error <= tolerance * expected.abs().max()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_answers_and_gradients_have_the_types_of_the_arguments(backend, dtype):
    arguments = [argument.to(dtype) for argument in make_arguments(*GEOMETRIES[0])]
    exact = [argument.double() for argument in arguments]
    output, grads = gradients(modulated_deform_conv2d, arguments, 1, 1, 1, backend)
    expected, expected_grads = gradients(modulated_deform_conv2d, exact, 1, 1, 1, backend)
    assert output.dtype == dtype
    assert_close_for(dtype, output, expected)
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        assert grad.dtype == dtype
        assert_close_for(dtype, grad, expected_grad)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("backward_within", [False, True])
def test_autocast_computes_in_its_type_with_coordinates_in_float32(backend, dtype, backward_within):
    # 16 bits hold a coordinate of 600 to half a pixel (float16) or to two pixels (bfloat16)
    leaves = [part.float() for part in make_arguments(*GEOMETRIES[0], batch=1, size=(3, 600))]
    expected, expected_grads = gradients(modulated_deform_conv2d, leaves, 1, 1, 1, backend)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    with torch.autocast("cpu", dtype=dtype):
        output = modulated_deform_conv2d(*leaves, 1, 1, 1, backend)
    assert output.dtype == dtype
    assert_close_for(dtype, output, expected)
    cotangent = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view(output.shape)
    with torch.autocast("cpu", dtype=dtype, enabled=backward_within):
        grads = torch.autograd.grad(output, leaves, cotangent.to(dtype))
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        assert grad.dtype == torch.float32
        assert_close_for(dtype, grad, expected_grad)


@pytest.mark.parametrize("backend", BACKENDS)
def test_autocast_leaves_float64_alone(backend):
    arguments = make_arguments(*GEOMETRIES[0])
    expected = modulated_deform_conv2d(*arguments, 1, 1, 1, backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = modulated_deform_conv2d(*arguments, 1, 1, 1, backend)
    assert torch.equal(output, expected)


def saved_bytes(dtype, autocast):
    """Count the bytes kept for backward of a (2, 64, 12, 14) input and of its offsets and masks."""
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 64, 12, 14), (2, 18, 12, 14), (2, 9, 12, 14), (64, 64, 3, 3), (64,)
    leaves = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    inputs = [leaves[0].to(dtype), *leaves[1:3], *(leaf.to(dtype) for leaf in leaves[3:])]
    parameters = {tensor.data_ptr() for tensor in inputs[3:]}
    sizes = {}

    def pack(tensor):
        sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast),
    ):
        modulated_deform_conv2d(*inputs, padding=1, backend="pytorch")
    weight_bytes = 64 * 64 * 9 * (2 if autocast or dtype != torch.float32 else 4)
    total = sum(size for address, size in sizes.items() if address not in parameters)
    return total - (weight_bytes if autocast else 0)


@pytest.mark.parametrize(
    ("dtype", "autocast", "input_bytes"),
    [(torch.float32, False, 4), (torch.bfloat16, False, 2), (torch.float32, True, 2)],
)
def test_plain_pytorch_keeps_nothing_but_their_arguments(dtype, autocast, input_bytes):
    positions = 2 * 12 * 14
    assert saved_bytes(dtype, autocast) == positions * (64 * input_bytes + 27 * 4)


def test_shapes_that_do_not_fit_are_refused():
    x, offset, mask, weight, bias = make_arguments(*GEOMETRIES[0])
    with pytest.raises(ValueError, match=r"offset must be \(2, 18, 3, 4\).*flat_read"):
        modulated_deform_conv2d(x, offset, mask, weight, bias, stride=2, padding=1)
    with pytest.raises(ValueError, match=r"mask must be \(2, 9, 6, 7\)"):
        modulated_deform_conv2d(x, offset, mask[:, 1:], weight, bias, padding=1)
    with pytest.raises(ValueError, match=r"got \(2, 2, 6, 7\) and \(4, 3, 3, 3\)"):
        modulated_deform_conv2d(x[:, 1:], offset, mask, weight, bias, padding=1)
    with pytest.raises(ValueError, match=r"bias must be \(4,\)"):
        modulated_deform_conv2d(x, offset, mask, weight, bias[1:], padding=1)
    with pytest.raises(ValueError, match="smaller than the 3 x 3 kernel"):
        modulated_deform_conv2d(x[..., :2], offset, mask, weight, bias)


@pytest.mark.parametrize("shape", [(1, 0, 4, 4), (1, 3, 0, 4), (1, 3, 4, 0)])
def test_empty_maps_are_refused(shape):
    input, weight = torch.zeros(shape), torch.zeros(4, shape[1], 3, 3)
    size = [length + 2 for length in shape[2:]]
    with pytest.raises(ValueError, match="must not be empty"):
        modulated_deform_conv2d(
            input, torch.zeros(1, 18, *size), torch.zeros(1, 9, *size), weight, padding=2
        )
