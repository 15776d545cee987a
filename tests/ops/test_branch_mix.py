"""The passes of the fused block against plain autograd over whole maps in float64."""

import importlib

import pytest
import torch
import torch.nn.functional as F

from dyhead.ops import branch_mix, cpp_branch_mix

LEVELS = {
    "three branches": [(5, 7), (5, 7), (3, 4)],
    "no coarser": [(5, 7), (5, 7)],
    "one branch": [(4, 1)],
    "a single coarse position": [(2, 3), (1, 1)],
    "a column": [(6, 1), (6, 1), (3, 1)],
    "large": [(67, 83), (67, 83), (34, 42)],
}


@pytest.fixture(params=["torch", "cpp", "interface"])
def passes(request):
    if request.param == "interface":
        return branch_mix
    if request.param == "cpp" and not cpp_branch_mix.serves():
        pytest.skip("no C++ extension here")
    return importlib.import_module(f"dyhead.ops.{request.param}_branch_mix")


def dtypes_of(passes):
    if passes is cpp_branch_mix:
        return torch.float32, torch.bfloat16
    return torch.float64, torch.float32, torch.bfloat16, torch.float16


def make_level(sizes, dtype, batch=2, channels=24):
    """Branches, scales, lines and a gradient of the output; maps hold values of `dtype`."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def image(size):
        return normal(batch, *size, channels).to(dtype)

    branches = [image(size) for size in sizes]
    small = torch.promote_types(dtype, torch.float32)
    scales, lines = normal(len(sizes), batch, channels), normal(5, batch, channels)
    return branches, scales.to(small), lines.to(small), image(sizes[0])


def upsample(image, size):
    channels_first = image.permute(0, 3, 1, 2)
    resized = F.interpolate(channels_first, size, mode="bilinear", align_corners=True)
    return resized.permute(0, 2, 3, 1)


def expected_mix(branches, scales, lines, size):
    shift, slope1, offset1, slope2, offset2 = lines[:, :, None, None]
    mixed = shift
    for branch, scale in zip(branches, scales[:, :, None, None], strict=True):
        mixed = mixed + upsample(branch, size) * scale
    return torch.maximum(slope1 * mixed + offset1, slope2 * mixed + offset2)


def expected_moments(image, size):
    """Mean, variance and mean after upsampling: (3, N, C)."""
    variance, mean = torch.var_mean(image, (1, 2), correction=0)
    return torch.stack((mean, variance, upsample(image, size).mean((1, 2))))


def assert_near(actual, expected, dtype):
    tolerance = {torch.float64: 1e-12, torch.float32: 3e-6}.get(dtype)
    if tolerance is None:  # rounded once, at the end
        tolerance = torch.finfo(dtype).eps if actual.dtype == dtype else 3e-6
    torch.testing.assert_close(
        actual.double(), expected, rtol=tolerance, atol=tolerance * expected.abs().max().item()
    )


def doubles(*tensors):
    return [tensor.double().requires_grad_() for tensor in tensors]


@pytest.mark.parametrize("level", LEVELS)
def test_moments(passes, level):
    sizes = LEVELS[level]
    for dtype in dtypes_of(passes):
        for image in make_level(sizes, dtype)[0]:
            moments = passes.channel_moments(image, sizes[0])
            assert moments.dtype == torch.promote_types(dtype, torch.float32)
            assert_near(moments, expected_moments(image.double(), sizes[0]), dtype)


def test_variance_survives_a_large_mean(passes):
    image = make_level([(67, 83)], torch.float32)[0][0] + 100
    _, variance, _ = passes.channel_moments(image, (67, 83))
    expected = image.double().var((1, 2), correction=0)
    torch.testing.assert_close(variance.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("level", LEVELS)
def test_forward(passes, level):
    sizes = LEVELS[level]
    for dtype in dtypes_of(passes):
        branches, scales, lines, _ = make_level(sizes, dtype)
        output = passes.mix_forward(branches, scales, lines, sizes[0])
        assert output.dtype == dtype
        assert output.is_contiguous()
        wide = [branch.double() for branch in branches]
        expected = expected_mix(wide, scales.double(), lines.double(), sizes[0])
        assert_near(output, expected, dtype)


@pytest.mark.parametrize("level", LEVELS)
def test_backward_through_mix_and_moments(passes, level):
    sizes = LEVELS[level]
    for dtype in dtypes_of(passes):
        branches, scales, lines, grad = make_level(sizes, dtype)
        positions = [size[0] * size[1] for size in sizes]
        cotangents = torch.randn(3, *scales.shape, dtype=torch.float64)  # of the moments

        # To the gradient of a position, the mean gives g / P, the variance 2 g (y - mean) / P.
        wide = doubles(*branches, scales, lines)
        images, (wide_scales, wide_lines) = wide[:-2], wide[-2:]
        output = expected_mix(images, wide_scales, wide_lines, sizes[0])
        moments = [expected_moments(image, sizes[0]) for image in images]
        expected = torch.autograd.grad(
            [output, *moments], wide, [grad.double(), *cotangents.unbind(1)]
        )

        corrections = torch.empty_like(cotangents)
        for index, count in enumerate(positions):
            of_mean, of_variance, of_pooled = cotangents[:, index]
            corrections[0, index] = of_pooled / positions[0]
            mean = moments[index][0].detach()
            corrections[1, index] = (of_mean - 2 * of_variance * mean) / count
            corrections[2, index] = 2 * of_variance / count
        actual = passes.mix_backward(grad, branches, scales, lines, corrections.to(scales.dtype))
        for index, (one, branch) in enumerate(zip(actual, branches, strict=True)):
            assert one.dtype == dtype
            assert one.shape == branch.shape
            assert_near(one, expected[index], dtype)
        sums = passes.mix_reductions(grad, branches, scales, lines)
        for one, other in zip(sums, expected[-2:], strict=True):
            assert one.dtype == scales.dtype
            assert_near(one, other, dtype)


def test_equal_lines_share_the_gradient(passes):
    image, grad = torch.ones(1, 2, 2, 16), torch.ones(1, 2, 2, 16)
    scales, lines = torch.ones(1, 1, 16), torch.zeros(5, 1, 16)
    lines[1] = lines[4] = 1  # max(z, 1) at z = 1
    _, grad_lines = passes.mix_reductions(grad, [image], scales, lines)
    assert (grad_lines[0] == 2).all()  # half of four positions
    assert (grad_lines[[2, 4]] == 2).all()
    (grad_image,) = passes.mix_backward(grad, [image], scales, lines, torch.zeros(3, 1, 1, 16))
    assert (grad_image == 0.5).all()


def test_empty_batch(passes):
    image, scales, lines = torch.ones(0, 2, 2, 16), torch.ones(1, 0, 16), torch.ones(5, 0, 16)
    assert passes.channel_moments(image, (2, 2)).shape == (3, 0, 16)
    assert passes.mix_forward([image], scales, lines, (2, 2)).shape == image.shape
    grad_scales, grad_lines = passes.mix_reductions(image, [image], scales, lines)
    assert (grad_scales.shape, grad_lines.shape) == ((1, 0, 16), (5, 0, 16))
    corrections = torch.ones(3, 1, 0, 16)
    assert passes.mix_backward(image, [image], scales, lines, corrections)[0].shape == image.shape
