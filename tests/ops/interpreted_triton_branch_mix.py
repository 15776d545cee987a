"""Triton's passes of the fused block under its interpreter, against plain PyTorch in float64.

Not collected by itself: `test_triton_branch_mix` runs it with TRITON_INTERPRET=1, which must be
set before anything imports Triton.
"""

import pytest
import torch

from dyhead.ops import torch_branch_mix, triton_branch_mix

TOLERANCES = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1e-2}
LEVELS = [  # the level's size, the branches' sizes
    ((6, 9), [(6, 9), (6, 9), (3, 5)]),
    ((7, 5), [(7, 5), (4, 3)]),
    ((5, 6), [(5, 6), (5, 6)]),
    ((3, 4), [(3, 4)]),
    ((4, 3), [(1, 2), (4, 3)]),
    ((1, 1), [(1, 1), (1, 1)]),
]


def make_arguments(level, dtype, *, batch=2, channels=20):
    """Gradient of the output, branches, scales, lines, moments and size."""
    size, branch_sizes = level
    count = len(branch_sizes)
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    branches = [normal(batch, *branch, channels).to(dtype) for branch in branch_sizes]
    grad_output = normal(batch, *size, channels).to(dtype)
    scales, lines = normal(count, batch, channels), normal(5, batch, channels)
    lines[:, :1, 0] = 0  # equal lines share the gradient
    return grad_output, branches, scales, lines, normal(3, count, batch, channels), size


def in_float64(value):
    if isinstance(value, list):
        return [in_float64(item) for item in value]
    return value.double() if isinstance(value, torch.Tensor) else value


def assert_close(ours, theirs, tolerance):
    assert len(ours) == len(theirs)
    for mine, expected in zip(ours, theirs, strict=True):
        assert mine.shape == expected.shape
        assert mine.is_contiguous()
        error = (mine.double() - expected).abs().max()
        assert error <= tolerance * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("level", LEVELS)
def test_every_pass_equals_the_float64_double(level, dtype):
    arguments = make_arguments(level, dtype)
    grad, branches, scales, lines, moments, size = arguments
    grad64, branches64, scales64, lines64, moments64, _ = map(in_float64, arguments)
    tolerance = TOLERANCES[dtype]

    output = triton_branch_mix.mix_forward(branches, scales, lines, size)
    expected = torch_branch_mix.mix_forward(branches64, scales64, lines64, size)
    assert output.dtype == dtype
    assert_close([output], [expected], tolerance)

    sums = triton_branch_mix.mix_reductions(grad, branches, scales, lines)
    expected_sums = torch_branch_mix.mix_reductions(grad64, branches64, scales64, lines64)
    assert all(total.dtype == torch.float32 for total in sums)
    assert_close(sums, expected_sums, 2e-6)

    grads = triton_branch_mix.mix_backward(grad, branches, scales, lines, moments)
    expected_grads = torch_branch_mix.mix_backward(grad64, branches64, scales64, lines64, moments64)
    assert all(gradient.dtype == dtype for gradient in grads)
    assert_close(grads, expected_grads, tolerance)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    "own, size", [((6, 9), (6, 9)), ((3, 5), (6, 9)), ((4, 7), (7, 13)), ((1, 2), (4, 3))]
)
def test_moments_equal_the_float64_double(own, size, dtype):
    image = make_arguments((own, [own]), dtype, channels=33)[0]
    moments = triton_branch_mix.channel_moments(image, size)
    expected = torch_branch_mix.channel_moments(image.double(), size)
    assert moments.dtype == torch.float32
    assert_close([moments], [expected], 2e-6)


def test_variance_of_a_deviation_much_smaller_than_the_mean(monkeypatch):
    monkeypatch.setattr(triton_branch_mix, "TILE_VALUES", 64)
    monkeypatch.setattr(triton_branch_mix, "MAX_PARTS", 4)
    image = make_arguments(((20, 9), [(20, 9)]), torch.float32, channels=5)[0] * 0.01 + 300
    moments = triton_branch_mix.channel_moments(image, (20, 9))
    expected = torch_branch_mix.channel_moments(image.double(), (20, 9))
    torch.testing.assert_close(moments[1].double(), expected[1], rtol=1e-3, atol=0)


def test_many_tiles_parts_and_channels():
    arguments = make_arguments(((6, 5), [(6, 5), (3, 3)]), torch.float32, channels=300)
    grad, branches, scales, lines, moments, size = [
        value[:, :1] if index in (2, 3) else value for index, value in enumerate(arguments)
    ]
    grad, branches = grad[:1], [branch[:1] for branch in branches]
    scales, lines, moments = scales.contiguous(), lines.contiguous(), moments[:, :, :1].contiguous()
    inputs = grad, branches, scales, lines
    ours = [
        triton_branch_mix.mix_forward(*inputs[1:], size),
        *triton_branch_mix.mix_reductions(*inputs),
        *triton_branch_mix.mix_backward(*inputs, moments),
        triton_branch_mix.channel_moments(branches[1], size),
    ]
    inputs, moments = [in_float64(value) for value in inputs], moments.double()
    theirs = [
        torch_branch_mix.mix_forward(*inputs[1:], size),
        *torch_branch_mix.mix_reductions(*inputs),
        *torch_branch_mix.mix_backward(*inputs, moments),
        torch_branch_mix.channel_moments(inputs[1][1], size),
    ]
    assert_close(ours, theirs, 5e-6)


def test_addresses_of_64_bits(monkeypatch):
    constants = triton_branch_mix._constants
    monkeypatch.setattr(triton_branch_mix, "_constants", lambda *a: {**constants(*a), "WIDE": True})
    grad, branches, scales, lines, moments, size = make_arguments(LEVELS[0], torch.float32)
    inputs = grad, branches, scales, lines
    assert_close(
        [
            triton_branch_mix.mix_forward(*inputs[1:], size),
            *triton_branch_mix.mix_reductions(*inputs),
            *triton_branch_mix.mix_backward(*inputs, moments),
        ],
        [
            torch_branch_mix.mix_forward(*inputs[1:], size),
            *torch_branch_mix.mix_reductions(*inputs),
            *torch_branch_mix.mix_backward(*inputs, moments),
        ],
        1e-5,
    )


def test_what_the_kernels_do_not_take_goes_to_plain_pytorch():
    level = ((3, 4), [(3, 4)] * 4)
    for dtype, batch in ((torch.float32, 2), (torch.float64, 2), (torch.float32, 0)):
        grad, branches, scales, lines, moments, size = make_arguments(level, dtype, batch=batch)
        if dtype == torch.float64:
            scales, lines, moments = scales.double(), lines.double(), moments.double()
        inputs = branches, scales, lines
        ours = triton_branch_mix.mix_forward(*inputs, size)
        torch.testing.assert_close(ours, torch_branch_mix.mix_forward(*inputs, size))
        assert len(triton_branch_mix.mix_backward(grad, *inputs, moments)) == 4
