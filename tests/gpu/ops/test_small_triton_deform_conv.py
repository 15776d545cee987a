"""Triton's deformable convolution in many small cases, against plain PyTorch in float64."""

import functools
import itertools
import math

import pytest
import torch
from convolve_by import all_by, by_pytorch, by_triton
from gpu_cases import DEVICE, IS_REAL, normals

from dyhead.layers.map_sizes import flat_read
from dyhead.ops import DeformConv
from dyhead.ops.pytorch.branch_mix import channel_moments
from dyhead.ops.triton import branch_mix as triton_branch_mix
from dyhead.ops.triton import deform_conv as triton_deform_conv
from dyhead.ops.triton import launch_options, self_check
from dyhead.ops.triton.deform_conv import serves
from dyhead.ops.triton.grouped_convolutions import GroupedConvolutions

ALL_BY_TRITON = functools.partial(all_by, "triton")
ALL_BY_PYTORCH = functools.partial(all_by, "pytorch")
GEOMETRIES = [  # kernel, stride, padding, dilation
    ((3, 3), (1, 1), (1, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1), (1, 1)),
    ((1, 1), (1, 1), (0, 0), (1, 1)),
    ((2, 3), (2, 1), (0, 2), (1, 2)),
]
# A tensor core multiplies float32 as three products of TF32 parts, and sums in its own order.
EXACT = 2e-5 if IS_REAL else 2e-6
TOLERANCES = {torch.float32: EXACT, torch.float16: 3e-3, torch.bfloat16: 2e-2}


def make_arguments(geometry, dtype, *, batch=2, channels=20, outputs=18, size=(4, 6)):
    """Input, offset, mask, weight and bias that fit together; values that `dtype` holds."""
    kernel, *pairs = geometry
    out_size = [
        (length + 2 * p - d * (k - 1) - 1) // s + 1
        for length, k, s, p, d in zip(size, kernel, *pairs, strict=True)
    ]
    taps = math.prod(kernel)
    normal = normals(0)
    shapes = [
        (batch, channels, *size),
        (batch, 2 * taps, *out_size),
        (batch, taps, *out_size),
        (outputs, channels, *kernel),
        (outputs,),
    ]
    x, offset, mask, weight, bias = (normal(*shape) for shape in shapes)
    return [x.to(dtype), offset * 2, mask.sigmoid(), weight.to(dtype), bias.to(dtype)]


def outcome(function, arguments, geometry, needed=(True,) * 5):
    """The output, and the gradients of the arguments named in `needed`."""
    leaves = [
        argument.detach().requires_grad_(need)
        for argument, need in zip(arguments, needed, strict=True)
    ]
    output = function(*leaves, *geometry[1:])
    cotangent = cotangent_of(output)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    return [output, *torch.autograd.grad(output, wanted, cotangent)]


def cotangent_of(output):
    numbers = torch.linspace(-1, 1, output.numel(), device=DEVICE)
    return numbers.view(output.shape).to(output.dtype)


def expected_outcome(arguments, geometry, needed=(True,) * 5):
    return outcome(by_pytorch, [a.double() for a in arguments], geometry, needed)


def assert_close(ours, theirs, tolerance):
    for mine, expected in zip(ours, theirs, strict=True):
        error = (mine.double() - expected).abs().max() / expected.abs().max().clamp(min=1)
        assert mine.shape == expected.shape
        assert error < tolerance


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_equals_the_float64_double(geometry, dtype):
    arguments = make_arguments(geometry, dtype)
    ours = outcome(by_triton, arguments, geometry)
    assert_close(ours, expected_outcome(arguments, geometry), TOLERANCES[dtype])
    assert ours[0].dtype == dtype
    assert ours[0].is_contiguous(memory_format=torch.channels_last)
    for grad, argument in zip(ours[1:], arguments, strict=True):
        assert grad.dtype == argument.dtype


@pytest.mark.parametrize("channels, outputs", [(1, 1), (16, 32), (33, 5), (70, 80)])
def test_any_number_of_channels(channels, outputs):
    arguments = make_arguments(GEOMETRIES[2], torch.float32, channels=channels, outputs=outputs)
    ours = outcome(by_triton, arguments, GEOMETRIES[2])
    assert_close(ours, expected_outcome(arguments, GEOMETRIES[2]), EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_several_tiles_and_splits_of_the_positions(dtype, monkeypatch):
    monkeypatch.setattr(launch_options, "FEW_POSITIONS", 0)
    monkeypatch.setattr(triton_deform_conv, "MIN_SPAN", 16)
    geometry = ((1, 1), (1, 1), (0, 0), (1, 1))
    arguments = make_arguments(geometry, dtype, batch=3, channels=72, outputs=24, size=(7, 9))
    ours = outcome(by_triton, arguments, geometry)
    assert_close(ours, expected_outcome(arguments, geometry), TOLERANCES[dtype])


@pytest.mark.parametrize("needed", [tuple(i == j for j in range(5)) for i in range(5)])
def test_gradient_of_one_argument_alone(needed):
    arguments = make_arguments(GEOMETRIES[2], torch.float32)
    ours = outcome(by_triton, arguments, GEOMETRIES[2], needed)
    assert_close(ours, expected_outcome(arguments, GEOMETRIES[2], needed), EXACT)


def test_any_layout_and_slices_of_one_convolutions_channels():
    x, offset, mask, weight, bias = make_arguments(GEOMETRIES[1], torch.float32)
    expected = outcome(by_triton, [x, offset, mask, weight, bias], GEOMETRIES[1])
    joint = torch.cat((offset, mask), dim=1).to(memory_format=torch.channels_last)
    x, weight = (tensor.to(memory_format=torch.channels_last) for tensor in (x, weight))
    wider = torch.nn.functional.pad(joint, (0, 1, 1, 0))  # rows that do not follow each other
    for planes in (joint, wider[:, :, 1:, :-1]):
        arguments = [x, planes[:, :18], planes[:, 18:], weight, bias]
        for ours, theirs in zip(
            outcome(by_triton, arguments, GEOMETRIES[1]), expected, strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def cut(planes):
    return planes[:, :18], planes[:, 18:]


def make_group(arguments):
    return GroupedConvolutions([DeformConv(*arguments, 1, 1, 1)])


def test_addresses_of_64_bits(monkeypatch):
    arguments = make_arguments(GEOMETRIES[0], torch.float32, batch=1, size=(3, 4))
    assert make_group(arguments).descriptors.dtype == torch.int32
    monkeypatch.setattr(GroupedConvolutions, "_sizes", lambda self: (2**31,))
    assert make_group(arguments).descriptors.dtype == torch.int64
    ours = outcome(by_triton, arguments, GEOMETRIES[0])
    assert_close(ours, expected_outcome(arguments, GEOMETRIES[0]), EXACT)


def make_pyramid(dtype, *, batch=2, channels=20, outputs=18, sizes=((4, 7), (2, 4), (1, 2))):
    """Make the tensors that a DyHead block convolves: levels, their maps and three kernels."""
    normal = normals(0)
    levels = [normal(batch, channels, *size).to(dtype) for size in sizes]
    maps = [normal(batch, 27, *size) for size in sizes]
    kernels = [
        (normal(outputs, channels, 3, 3).to(dtype), normal(outputs).to(dtype)) for _ in range(3)
    ]
    return [*levels, *maps, *(tensor for kernel in kernels for tensor in kernel)]


def convolve_pyramid(function, tensors):
    levels, maps, kernels = tensors[:3], tensors[3:6], tensors[6:]
    finer, same, coarser = zip(kernels[::2], kernels[1::2], strict=True)
    calls = []
    for index, (level, planes) in enumerate(zip(levels, maps, strict=True)):
        where = planes[:, :18], planes[:, 18:]
        geometry = ((1, 1), (1, 1), (1, 1))
        if index > 0:
            calls.append((levels[index - 1], *where, *finer, (2, 2), *geometry[1:]))
        calls.append((level, *where, *same, *geometry))
        if index < 2:
            fitted = [flat_read(part, *levels[index + 1].shape[2:]) for part in where]
            calls.append((levels[index + 1], *fitted, *coarser, *geometry))
    return function(calls)


def pyramid_outcome(function, tensors):
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    outputs = convolve_pyramid(function, leaves)
    gradients = torch.autograd.grad(outputs, leaves, list(map(cotangent_of, outputs)))
    return [*outputs, *gradients]


def test_convolutions_of_a_pyramid_share_their_launches(note_launches):
    """Levels, strides and kernels that differ: one launch forward, two backward."""
    names = ["forward_kernel", "backward_samples_kernel", "backward_kernels_kernel"]
    tensors = make_pyramid(torch.float32)
    launches = note_launches("triton.deform_kernels", names)
    ours = pyramid_outcome(ALL_BY_TRITON, tensors)
    expected = pyramid_outcome(
        ALL_BY_PYTORCH,
        [tensor.double() for tensor in tensors],
    )
    assert_close(ours, expected, EXACT)
    assert launches == names


@pytest.mark.parametrize(
    "dtype, few_positions",  # tiles of 64 and 32 positions
    [(torch.float32, 0), (torch.float32, 10**6), (torch.bfloat16, 0)],
)
def test_moments_are_those_of_the_values_that_are_written(dtype, few_positions, monkeypatch):
    monkeypatch.setattr(launch_options, "FEW_POSITIONS", few_positions)
    monkeypatch.setitem(triton_branch_mix.JOIN_OPTIONS, "BLOCK_S", 2)  # fewer than there are tiles
    tensors = make_pyramid(dtype, batch=1, sizes=((13, 11), (7, 6), (4, 3)))
    sizes = [(13, 11), (13, 11), (7, 6), (7, 6), (7, 6), (4, 3), (4, 3)]
    found = []

    def function(calls):
        outputs, moments = all_by("triton", calls, sizes)
        found.extend(moments)
        return outputs

    outputs = convolve_pyramid(function, [tensor.requires_grad_() for tensor in tensors])
    plain = convolve_pyramid(ALL_BY_TRITON, tensors)
    for output, same, moments, size in zip(outputs, plain, found, sizes, strict=True):
        assert_close([output], [same.double()], TOLERANCES[dtype])
        assert not moments.requires_grad
        image = output.detach().permute(0, 2, 3, 1).double()
        assert_close(moments, channel_moments(image, size), EXACT)


def test_moments_of_deviations_much_smaller_than_the_mean():
    arguments = make_arguments(GEOMETRIES[0], torch.float32, size=(13, 11))
    arguments[3], arguments[4] = arguments[3] * 0.01, arguments[4] + 300
    (output,), (moments,) = all_by("triton", [(*arguments, *GEOMETRIES[0][1:])], [(13, 11)])
    expected = output.double().var((2, 3), correction=0)  # 0.04 squared: a 7500th of the mean
    torch.testing.assert_close(moments[1].double(), expected, rtol=1e-3, atol=0)


def test_moments_of_launches_apart():
    near = make_arguments(GEOMETRIES[0], torch.float32)
    small = make_arguments(GEOMETRIES[2], torch.float32, channels=5)
    calls = [(*near, *GEOMETRIES[0][1:]), (*small, *GEOMETRIES[2][1:])] * 2
    sizes = [(4, 6), (7, 9), (6, 6), (4, 11)]
    outputs, moments = all_by("triton", calls, sizes)
    for output, measured, size in zip(outputs, moments, sizes, strict=True):
        image = output.permute(0, 2, 3, 1).double()
        assert_close(measured, channel_moments(image, size), EXACT)


def test_what_differs_in_more_than_sizes_and_strides_is_launched_apart():
    near = make_arguments(GEOMETRIES[2], torch.float32)
    small = make_arguments(GEOMETRIES[0], torch.float32, batch=1, channels=5)
    calls = [
        *[(*near, *GEOMETRIES[2][1:])] * 33,  # one more than a launch takes
        (*small, *GEOMETRIES[0][1:]),
        (*near[:4], None, *GEOMETRIES[2][1:]),
    ]
    for ours, call in zip(all_by("triton", calls), calls, strict=True):
        torch.testing.assert_close(ours, by_pytorch(*call), rtol=1e-5, atol=1e-5)


def test_outputs_of_one_launch_may_be_overwritten():
    tensors = [tensor.requires_grad_() for tensor in make_pyramid(torch.float32, batch=1)]
    outputs = convolve_pyramid(ALL_BY_TRITON, tensors)
    before = outputs[1].detach().clone()
    torch.relu_(outputs[0])
    assert torch.equal(outputs[1], before)
    sum(output.sum() for output in outputs).backward()
    assert all(tensor.grad.isfinite().all() for tensor in tensors)


@pytest.mark.parametrize("wanted", [[0], [1, 3, 7], [5], [2, 10, 11]])
def test_gradients_of_some_tensors_and_outputs_that_nobody_uses(wanted):
    tensors = make_pyramid(torch.float32, batch=1)
    results, used = [], None
    for function, kind in (
        (ALL_BY_PYTORCH, torch.float64),
        (ALL_BY_TRITON, torch.float32),
    ):
        leaves = [tensor.to(kind) for tensor in tensors]
        for index in wanted:
            leaves[index].requires_grad_()
        outputs = convolve_pyramid(function, leaves)
        used = used or [i for i, output in enumerate(outputs) if output.requires_grad and i != 1]
        outputs = [outputs[index] for index in used]
        cotangents = [output.new_ones(()).expand_as(output) for output in outputs]
        results.append(
            torch.autograd.grad(outputs, [leaves[index] for index in wanted], cotangents)
        )
    exact, ours = results
    assert_close(ours, exact, EXACT)


@pytest.mark.parametrize("change", ["expanded", "overlapping", "reversed"])
def test_tensors_that_share_memory_in_odd_ways(change):
    x, offset, mask, weight, bias = make_arguments(GEOMETRIES[0], torch.float32)
    other = x * 2
    if change == "expanded":
        offset, mask = offset[:1, :1].expand_as(offset), mask[..., :1].expand_as(mask)
    elif change == "overlapping":
        mask = offset[:, 3:12]
    else:
        joint = torch.stack((x, other)).permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        other, x = joint  # the first one lies after the second
    calls = [(image, offset, mask, weight, bias, *GEOMETRIES[0][1:]) for image in (x, other)]
    for ours, call in zip(all_by("triton", calls), calls, strict=True):
        exact = by_pytorch(*(value.double() for value in call[:5]), *call[5:])
        assert_close([ours], [exact], EXACT)


def test_every_kernel_gets_parts_in_proportion_to_its_positions():
    tensors = make_pyramid(torch.float32, sizes=((6, 9), (3, 5), (2, 3)))
    levels, maps, weights = tensors[:3], tensors[3:6], tensors[6::2]
    calls = [
        DeformConv(levels[level], *cut(maps[level]), weights[kernel], None, 1, 1, 1)
        for level, kernel in ((0, 0), (0, 1), (1, 1))
    ]
    parts, counts = GroupedConvolutions(calls).parts(16, 5)
    blocks = [-(-108 // 16), -(-108 // 16) + -(-30 // 16)]
    assert counts == [2, 3]  # of 7 and 9 blocks
    assert parts[0, 0] == 0
    assert parts[counts[0] - 1, 1] == blocks[0]
    assert parts[-1, 1] == sum(blocks)
    assert torch.equal(parts[1:, 0], parts[:-1, 1])


@pytest.mark.parametrize("position", [-1.5, -1.0, -0.75, -0.25, 0.0, 2.0, 2.25, 2.75, 3.0, 3.5])
def test_border_pixels_count_by_their_share(position):
    ramp = torch.tensor([1.0, 2.0, 3.0], device=DEVICE).view(1, 1, 1, 3)
    offset = torch.zeros(1, 2, 1, 3, device=DEVICE)
    offset[0, 1] = position - torch.arange(3, device=DEVICE)
    ones = torch.ones_like(ramp)
    arguments = [ramp, offset, ones, ones[..., :1], torch.zeros(1, device=DEVICE)]
    ours = outcome(by_triton, arguments, GEOMETRIES[2])
    for mine, expected in zip(ours, expected_outcome(arguments, GEOMETRIES[2]), strict=True):
        torch.testing.assert_close(mine.double(), expected)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e12])
def test_wild_offsets_stay_local(value):
    arguments = make_arguments(GEOMETRIES[2], torch.float32, batch=1)
    expected = outcome(by_triton, arguments, GEOMETRIES[2])
    arguments[1][0, 1, 2, 3] = value
    output, grad_input, *_ = outcome(by_triton, arguments, GEOMETRIES[2])
    elsewhere = torch.ones_like(output, dtype=torch.bool)
    elsewhere[:, :, 2, 3] = False
    torch.testing.assert_close(output[elsewhere], expected[0][elsewhere])
    if math.isfinite(value):
        assert grad_input.isfinite().all()
    else:
        assert output[~elsewhere].isnan().all()


def test_empty_batch():
    arguments = make_arguments(GEOMETRIES[0], torch.float32, batch=0)
    output, *grads = outcome(by_triton, arguments, GEOMETRIES[0])
    assert output.shape == (0, 18, 4, 6)
    call = (*arguments, *GEOMETRIES[0][1:])
    _, (moments,) = all_by("triton", [call], [(4, 6)])
    assert moments.shape == (3, 0, 18)
    for grad, argument in itertools.zip_longest(grads, arguments):
        assert grad.shape == argument.shape
        assert not grad.any()


def test_saves_nothing_but_its_inputs():
    arguments = make_arguments(GEOMETRIES[0], torch.bfloat16)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        by_triton(*[a.requires_grad_() for a in arguments], *GEOMETRIES[0][1:])
    assert {t.data_ptr() for t in saved} == {a.data_ptr() for a in arguments[:4]}


def test_the_self_check_passes_even_within_inference_mode_and_autocast():
    self_check._passes.cache_clear()
    with torch.inference_mode(), torch.autocast(DEVICE.type, dtype=torch.bfloat16):
        assert serves(DEVICE)


def test_the_self_check_finds_wrong_gradients(monkeypatch, caplog):
    self_check._passes.cache_clear()
    genuine = triton_deform_conv._weight_gradients
    wrong = lambda *a: [grad * 1.1 for grad in genuine(*a)]  # noqa: E731
    monkeypatch.setattr(triton_deform_conv, "_weight_gradients", wrong)
    assert not serves(DEVICE)
    assert not serves(DEVICE)
    assert len(caplog.records) == 1
    assert f"torchvision instead of Triton on {DEVICE.type}" in caplog.text
    self_check._passes.cache_clear()
