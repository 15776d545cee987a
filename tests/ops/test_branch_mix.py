"""The passes of the fused block against plain autograd over whole maps in float64."""

import pytest
import torch
import torch.nn.functional as F

from dyhead.ops import branch_mix
from dyhead.ops.branch_mix import Passes
from dyhead.ops.cpp.branch_mix import CppPasses
from dyhead.ops.pytorch.branch_mix import PyTorchPasses

LEVELS = {
    "three branches": [(5, 7), (5, 7), (3, 4)],
    "no coarser": [(5, 7), (5, 7)],
    "one branch": [(4, 1)],
    "a single coarse position": [(2, 3), (1, 1)],
    "a column": [(6, 1), (6, 1), (3, 1)],
    "large": [(67, 83), (67, 83), (34, 42)],
}


EVERY_TYPE = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class OneLevel:
    """Passes over the maps of one level alone."""

    def __init__(self, passes):
        self.passes = passes
        self.dtypes = [dtype for dtype in EVERY_TYPE if passes.serves(torch.device("cpu"), dtype)]

    def channel_moments(self, image, size):
        return self.passes.channel_moments([[image]], [size])[0, 0]

    def mix_forward(self, branches, scales, dyrelu, size):
        return self.passes.mix_forward([branches], scales[None], dyrelu[None], [size])[0]

    def mix_reductions(self, grad, branches, scales, dyrelu):
        sums = self.passes.mix_reductions([grad], [branches], scales[None], dyrelu[None])
        return sums[0][0], sums[1][0]

    def mix_backward(self, grad, branches, scales, dyrelu, moments):
        arguments = [grad], [branches], scales[None], dyrelu[None], moments[:, None]
        return self.passes.mix_backward(*arguments)[0]


@pytest.fixture(params=[PyTorchPasses, CppPasses])
def passes(request):
    level = OneLevel(request.param())
    if not level.dtypes:
        pytest.skip("no C++ extension here")
    return level


def make_level(sizes, dtype, batch=2, channels=24):
    """Branches, scales, dyrelu and a gradient of the output; maps hold values of `dtype`."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def image(size):
        return normal(batch, *size, channels).to(dtype)

    branches = [image(size) for size in sizes]
    small = torch.promote_types(dtype, torch.float32)
    scales, dyrelu = normal(len(sizes), batch, channels), normal(5, batch, channels)
    return branches, scales.to(small), dyrelu.to(small), image(sizes[0])


def upsample(image, size):
    channels_first = image.permute(0, 3, 1, 2)
    resized = F.interpolate(channels_first, size, mode="bilinear", align_corners=True)
    return resized.permute(0, 2, 3, 1)


def expected_mix(branches, scales, dyrelu, size):
    shift, slope1, intercept1, slope2, intercept2 = dyrelu[:, :, None, None]
    mixed = shift
    for branch, scale in zip(branches, scales[:, :, None, None], strict=True):
        mixed = mixed + upsample(branch, size) * scale
    return torch.maximum(slope1 * mixed + intercept1, slope2 * mixed + intercept2)


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
    for dtype in passes.dtypes:
        for image in make_level(sizes, dtype)[0]:
            moments = passes.channel_moments(image, sizes[0])
            assert moments.dtype == torch.promote_types(dtype, torch.float32)
            assert_near(moments, expected_moments(image.double(), sizes[0]), dtype)


def test_variance_survives_a_large_mean(passes):
    noise = make_level([(67, 83)], torch.float32)[0][0]
    for image, tolerance in ((noise + 100, 1e-5), (0.04 * noise + 300, 2e-5)):
        _, variance, _ = passes.channel_moments(image, (67, 83))
        expected = image.double().var((1, 2), correction=0)
        torch.testing.assert_close(variance.double(), expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("level", LEVELS)
def test_forward(passes, level):
    sizes = LEVELS[level]
    for dtype in passes.dtypes:
        branches, scales, dyrelu, _ = make_level(sizes, dtype)
        output = passes.mix_forward(branches, scales, dyrelu, sizes[0])
        assert output.dtype == dtype
        assert output.is_contiguous()
        wide = [branch.double() for branch in branches]
        expected = expected_mix(wide, scales.double(), dyrelu.double(), sizes[0])
        assert_near(output, expected, dtype)


@pytest.mark.parametrize("level", LEVELS)
def test_backward_through_mix_and_moments(passes, level):
    sizes = LEVELS[level]
    for dtype in passes.dtypes:
        branches, scales, dyrelu, grad = make_level(sizes, dtype)
        positions = [size[0] * size[1] for size in sizes]
        cotangents = torch.randn(3, *scales.shape, dtype=torch.float64)  # of the moments

        # To the gradient of a position, the mean gives g / P, the variance 2 g (y - mean) / P.
        wide = doubles(*branches, scales, dyrelu)
        images, (wide_scales, wide_dyrelu) = wide[:-2], wide[-2:]
        output = expected_mix(images, wide_scales, wide_dyrelu, sizes[0])
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
        actual = passes.mix_backward(grad, branches, scales, dyrelu, corrections.to(scales.dtype))
        for index, (one, branch) in enumerate(zip(actual, branches, strict=True)):
            assert one.dtype == dtype
            assert one.shape == branch.shape
            assert_near(one, expected[index], dtype)
        sums = passes.mix_reductions(grad, branches, scales, dyrelu)
        for one, other in zip(sums, expected[-2:], strict=True):
            assert one.dtype == scales.dtype
            assert_near(one, other, dtype)


def test_equal_functions_share_the_gradient(passes):
    image, grad = torch.ones(1, 2, 2, 16), torch.ones(1, 2, 2, 16)
    scales, dyrelu = torch.ones(1, 1, 16), torch.zeros(5, 1, 16)
    dyrelu[1] = dyrelu[4] = 1  # max(z, 1) at z = 1
    _, grad_dyrelu = passes.mix_reductions(grad, [image], scales, dyrelu)
    assert (grad_dyrelu[0] == 2).all()  # half of four positions
    assert (grad_dyrelu[[2, 4]] == 2).all()
    (grad_image,) = passes.mix_backward(grad, [image], scales, dyrelu, torch.zeros(3, 1, 1, 16))
    assert (grad_image == 0.5).all()


@pytest.mark.parametrize("missing", ["serves", "mix_forward"])
def test_passes_without_a_required_method_cannot_be_made(missing):
    names = ("serves", "channel_moments", "mix_forward", "mix_reductions", "mix_backward")
    methods = {name: getattr(PyTorchPasses, name) for name in names if name != missing}
    with pytest.raises(TypeError, match=f"Incomplete.*{missing}"):
        type("Incomplete", (Passes,), methods)()


def test_empty_batch(passes):
    image, scales, dyrelu = torch.ones(0, 2, 2, 16), torch.ones(1, 0, 16), torch.ones(5, 0, 16)
    assert passes.channel_moments(image, (2, 2)).shape == (3, 0, 16)
    assert passes.mix_forward([image], scales, dyrelu, (2, 2)).shape == image.shape
    grad_scales, grad_dyrelu = passes.mix_reductions(image, [image], scales, dyrelu)
    assert (grad_scales.shape, grad_dyrelu.shape) == ((1, 0, 16), (5, 0, 16))
    corrections = torch.ones(3, 1, 0, 16)
    assert passes.mix_backward(image, [image], scales, dyrelu, corrections)[0].shape == image.shape


PYRAMIDS = {
    "three levels": [(9, 7), (5, 4), (3, 2)],
    "two levels": [(4, 6), (2, 3)],
    "one level": [(5, 3)],
    "same size": [(1, 1), (1, 1)],
}


def make_pyramid(sizes, dtype):
    """Maps (finer, same, coarser of every level), scales, dyrelu and gradients of the outputs."""
    maps, grads = [], []
    for index, size in enumerate(sizes):
        own = [size if index else None, size, sizes[index + 1] if index + 1 < len(sizes) else None]
        own = own if len(sizes) > 1 else [size]
        (*branches,), _, _, grad = make_level([s for s in own if s] + [size], dtype)
        branches = iter(branches)
        maps.append([next(branches) if s else None for s in own])
        grads.append(grad.roll(1, 1).contiguous())
    generator = torch.Generator().manual_seed(1)
    small = torch.promote_types(dtype, torch.float32)
    levels, slots = len(maps), len(maps[0])
    scales = torch.randn(levels, slots, 2, 24, generator=generator).to(small)
    dyrelu = torch.randn(levels, 5, 2, 24, generator=generator).to(small)
    return maps, scales, dyrelu, grads


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pyramid", PYRAMIDS)
def test_all_levels_of_a_pyramid(pyramid, dtype):
    """A neighbour that a level lacks stays out of everything, wherever it is."""
    sizes = PYRAMIDS[pyramid]
    maps, scales, dyrelu, grads = make_pyramid(sizes, dtype)
    corrections = torch.rand(3, *scales.shape).to(scales.dtype)
    moments = branch_mix.channel_moments(maps, sizes)
    outputs = branch_mix.mix_forward(maps, scales, dyrelu, sizes)
    grad_scales, grad_dyrelu = branch_mix.mix_reductions(grads, maps, scales, dyrelu)
    gradients = branch_mix.mix_backward(grads, maps, scales, dyrelu, corrections)
    for index, (level, size) in enumerate(zip(maps, sizes, strict=True)):
        slots = [slot for slot, image in enumerate(level) if image is not None]
        wide = [level[slot].double().requires_grad_() for slot in slots]
        row, line = doubles(scales[index, slots], dyrelu[index])
        output = expected_mix(wide, row, line, size)
        assert_near(outputs[index], output, dtype)
        through_mix = torch.autograd.grad(output, [row, line], grads[index].double(), True)
        assert_near(grad_scales[index, slots], through_mix[0], dtype)
        assert_near(grad_dyrelu[index], through_mix[1], dtype)
        expected = torch.autograd.grad(output, wide, grads[index].double(), True)
        pooled, constant, slope = corrections[:, index, slots, :, None, None].double()
        for number, (slot, image) in enumerate(zip(slots, wide, strict=True)):
            assert_near(moments[index, slot], expected_moments(image.detach(), size), dtype)
            (spread,) = torch.autograd.grad(
                upsample(image, size), image, pooled[number].expand(2, *size, 24)
            )
            total = expected[number] + spread + constant[number] + slope[number] * image
            assert_near(gradients[index][slot], total.detach(), dtype)
        for slot in set(range(len(level))) - set(slots):
            assert gradients[index][slot] is None
            assert not moments[index, slot].any()
            assert not grad_scales[index, slot].any()


def test_outputs_may_take_the_place_of_maps():
    sizes = PYRAMIDS["three levels"]
    maps, scales, dyrelu, _ = make_pyramid(sizes, torch.float32)
    expected = branch_mix.mix_forward(maps, scales, dyrelu, sizes)
    addresses = {image.data_ptr() for level in maps for image in level if image is not None}
    outputs = branch_mix.mix_forward(maps, scales, dyrelu, sizes, overwrite=True)
    for output, other in zip(outputs, expected, strict=True):
        assert torch.equal(output, other)
        assert output.data_ptr() in addresses  # on CPU they do
