"""Triton's deformable convolution on the pyramids of real images, against float64.

The reference is plain PyTorch on the same device, which `test_the_reference_equals_torchvisions`
compares with something else there. The functions are called without the back end's self-check: it
would end the run where these tests can tell what is wrong.
"""

from typing import NamedTuple

import pytest
import torch
from convolve_by import all_by, by_pytorch, by_triton
from gpu_cases import (
    BATCHES,
    CHANNELS,
    DTYPES,
    EXACT,
    IMAGE,
    IS_REAL,
    KERNEL_CASES,
    ROUNDED,
    assert_near,
    level_sizes,
    normals,
)
from pyramid_cases import OFFSETS, Tensors, convolutions, make_tensors
from torch import Tensor
from torch.nn.functional import pad
from torchvision.ops import deform_conv2d

from dyhead.ops.pytorch.branch_mix import channel_moments


def sizes_of(image):
    return level_sizes(image)[: None if IS_REAL else 2]


class Outcome(NamedTuple):
    """Results of convolutions: outputs, their moments, and gradients of what they read."""

    outputs: list[Tensor]
    moments: list[Tensor]
    gradients: Tensors


def outcome(run, tensors, dtype=torch.float32):
    """Run convolutions forward and backward.

    Args:
        run: a function of calls and of levels' sizes, as `foreach_deform_conv_with_moments`.
        tensors: of the pyramid.
        dtype: the gradients of the outputs are numbers that it holds.
    """
    leaves, normal = tensors.leaves(), normals(1)
    outputs, moments = run(*convolutions(leaves))
    cotangents = [normal(*output.shape).to(dtype).to(output.dtype) for output in outputs]
    gradients = torch.autograd.grad(outputs, leaves.flat(), cotangents)
    return Outcome([output.detach() for output in outputs], moments, leaves.like(gradients))


def pyramid_by_pytorch(calls, sizes):
    return all_by("pytorch", calls), []


def pyramid_by_triton(calls, sizes):
    return all_by("triton", calls, sizes)


def assert_moments(name, outputs, moments, sizes):
    """Moments are those of the values as they were written, rounded or not."""
    for output, found, size in zip(outputs, moments, sizes, strict=True):
        image = output.permute(0, 2, 3, 1).double()
        assert_near(f"{name} moments", found, channel_moments(image, size), EXACT)


def parts(planes):
    """Gradients of offsets, and of masks."""
    return [plane[:, :OFFSETS] for plane in planes], [plane[:, OFFSETS:] for plane in planes]


def assert_outcome(name, ours, exact, dtype):
    """Only what is kept in 16 bits is rounded; offsets and masks get float32's gradients."""
    assert_near(f"{name} outputs", ours.outputs, exact.outputs, ROUNDED[dtype])
    for kind in ("levels", "weights", "biases"):
        found, expected = getattr(ours.gradients, kind), getattr(exact.gradients, kind)
        assert_near(f"{name} gradients of {kind}", found, expected, ROUNDED[dtype])
    pairs = zip(parts(ours.gradients.planes), parts(exact.gradients.planes), strict=True)
    for kind, pair in zip(("offsets", "masks"), pairs, strict=True):
        assert_near(f"{name} gradients of {kind}", *pair, EXACT)


def assert_same(ours, theirs):
    """Bit for bit, but for the gradients of the levels: atomic additions have no order on a GPU."""
    for found, expected in zip(ours.outputs, theirs.outputs, strict=True):
        assert torch.equal(found, expected)
    for found, expected in zip(ours.moments, theirs.moments, strict=True):
        assert torch.equal(found, expected)
    for kind in ("planes", "weights", "biases"):
        pairs = zip(getattr(ours.gradients, kind), getattr(theirs.gradients, kind), strict=True)
        assert all(torch.equal(found, expected) for found, expected in pairs)
    assert_near("order of atomic additions", ours.gradients.levels, theirs.gradients.levels, EXACT)


@pytest.fixture(scope="module")
def plain():
    """Contiguous tensors in float32, and their outcome."""
    tensors = make_tensors(sizes_of(IMAGE), BATCHES[0], torch.float32)
    return tensors, outcome(pyramid_by_triton, tensors)


@pytest.mark.parametrize("image, batch, dtype", KERNEL_CASES, ids=str)
def test_equals_the_float64_double(image, batch, dtype):
    sizes = sizes_of(image)
    tensors = make_tensors(sizes, batch, dtype)
    ours = outcome(pyramid_by_triton, tensors, dtype)
    assert {output.dtype for output in ours.outputs} == {dtype}
    name = f"convolutions {dtype}".replace("torch.", "")
    assert_moments(name, ours.outputs, ours.moments, convolutions(tensors)[1])
    assert_outcome(name, ours, outcome(pyramid_by_pytorch, tensors.double(), dtype), dtype)


def test_the_reference_equals_torchvisions():
    tensors = make_tensors(sizes_of(IMAGE), 1, torch.float32, channels=16).double()

    def by_torchvision(calls, sizes):
        return [
            deform_conv2d(
                call.input, call.offset, call.weight, call.bias, *call[5:], mask=call.mask
            )
            for call in calls
        ], []

    found, expected = outcome(pyramid_by_pytorch, tensors), outcome(by_torchvision, tensors)
    assert_near("reference", found.outputs, expected.outputs, 1e-12)
    assert_near("reference", found.gradients.flat(), expected.gradients.flat(), 1e-12)


@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_one_convolution_alone(dtype):
    """As torch.compile runs them; here without bias and moments."""
    tensors = make_tensors(sizes_of(IMAGE)[:1], 1, dtype)
    results = []
    for function, kind in ((by_triton, dtype), (by_pytorch, torch.float64)):
        leaves = tensors.leaves() if kind == dtype else tensors.double().leaves()
        ((call,), _) = convolutions(leaves)
        output = function(*call[:4], None, *call[5:])
        wanted = [*leaves.levels, *leaves.planes, leaves.weights[1]]
        cotangent = normals(1)(*output.shape).to(dtype).to(kind)
        results.append([output, *torch.autograd.grad(output, wanted, cotangent)])
    (output, level, planes, weight), exact = results
    assert_near("one convolution", [output, level, weight], [*exact[:2], exact[3]], ROUNDED[dtype])
    assert_near("one convolution", [planes], [exact[2]], EXACT)


def test_without_moments_the_outputs_are_the_same(plain):
    tensors, expected = plain
    outputs = all_by("triton", convolutions(tensors)[0])
    assert_near("without moments", outputs, [output.double() for output in expected.outputs], EXACT)


LAYOUTS = {
    "as they were": lambda tensor: tensor,
    "channels_last": lambda tensor: tensor.to(memory_format=torch.channels_last),
    "columns of larger tensors": lambda tensor: pad(tensor.mT, (1, 2, 2, 1))[..., 2:-1, 1:-2].mT,
}


@pytest.mark.parametrize("layout", list(LAYOUTS)[0 if IS_REAL else 1 :])
def test_another_run_is_bit_equal_in_any_memory_layout(layout, plain):
    """But for the gradients of the levels, see `assert_same`."""
    tensors, expected = plain
    lay_out = LAYOUTS[layout]
    changed = Tensors(*([lay_out(t) if t.dim() == 4 else t for t in group] for group in tensors))
    assert_same(outcome(pyramid_by_triton, changed), expected)


def test_offsets_far_outside():
    tensors = make_tensors(sizes_of(IMAGE), BATCHES[0], torch.float32)
    for planes in tensors.planes:
        for start, distance in enumerate((1e4, -1e6, 3e9, -1e12, 1e30)):
            planes[:, start:OFFSETS:7].flatten(2)[..., start::5] = distance
    ours = outcome(pyramid_by_triton, tensors)
    assert_outcome(
        "far offsets", ours, outcome(pyramid_by_pytorch, tensors.double()), torch.float32
    )


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_offsets_that_are_no_numbers_stay_local(plain):
    """They spoil the outputs of their positions and the weights' gradients, nothing else."""
    tensors, expected = plain
    tensors = Tensors(*([tensor.clone() for tensor in group] for group in tensors))
    for planes in tensors.planes:
        for place, value in enumerate((float("nan"), float("inf"), float("-inf"))):
            planes[0, 5 * place, -1, place * planes.shape[3] // 3] = value
    ours = outcome(pyramid_by_triton, tensors)
    spoiled, touched = spoiled_positions(tensors)
    for positions, output, before in zip(spoiled, ours.outputs, expected.outputs, strict=True):
        assert torch.equal(output.isnan(), positions.expand_as(output))
        assert torch.equal(output.where(~positions, 0), before.where(~positions, 0))
    assert all(gradient.isfinite().all() for gradient in ours.gradients.levels)
    gradients = zip(ours.gradients.planes, expected.gradients.planes, strict=True)
    for values, (found, before) in zip(touched, gradients, strict=True):
        assert torch.equal(found[~values], before[~values])


def spoiled_positions(tensors):
    """Positions of outputs with an offset that is no number, and marks of the planes read there."""
    leaves = tensors.leaves()
    calls, _ = convolutions(leaves)
    spoiled = [~call.offset.isfinite().all(1, keepdim=True) for call in calls]
    read = [part for call in calls for part in (call.offset, call.mask)]
    marks = [positions.float() for positions in spoiled for _ in range(2)]
    marks = [mark.expand_as(part) for mark, part in zip(marks, read, strict=True)]
    counts = torch.autograd.grad(read, leaves.planes, marks)
    return spoiled, [count > 0 for count in counts]


def test_an_empty_batch_has_empty_outputs_and_no_gradients():
    tensors = make_tensors(sizes_of(IMAGE), 0, torch.bfloat16)
    found = outcome(pyramid_by_triton, tensors)
    assert all(output.shape[:2] == (0, CHANNELS) for output in found.outputs)
    assert all(moments.shape == (3, 0, CHANNELS) for moments in found.moments)
    for gradient, tensor in zip(found.gradients.flat(), tensors.flat(), strict=True):
        assert gradient.shape == tensor.shape
        assert not gradient.any()
