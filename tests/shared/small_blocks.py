"""Small DyHead blocks and pyramids, and what they give."""

import torch

from dyhead.layers import BlockOptions, DyHeadBlock

PYRAMIDS = {
    "even": [(8, 12), (4, 6), (2, 3)],
    "odd": [(9, 7), (5, 4), (3, 2), (2, 1), (1, 1)],
    "coarse level not halved": [(9, 8), (5, 4), (3, 2)],
    "one level": [(5, 6)],
    "two levels": [(6, 6), (3, 3)],
    "same size": [(1, 1), (1, 1)],
}


def make_block(channels=16, dtype=torch.float64, **options):
    """A block none of whose parameters is near zero."""
    torch.manual_seed(0)
    block = DyHeadBlock(channels, channels, BlockOptions(**options))
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return block.to(dtype)


def make_far_reaching_block(channels=16, offset_spread=2.5, **options):
    """A float64 block whose offsets have a standard deviation of at least 2 pixels."""
    block = make_block(channels, **options)
    convolution = block.spatial_attention.offset_and_mask
    if convolution is not None:
        fan_in = convolution.weight[0].numel()
        torch.nn.init.normal_(convolution.weight, std=offset_spread / fan_in**0.5)
    return block


def make_levels(sizes, channels=16, batch=2, dtype=torch.float64):
    """Random levels (N, C, H_i, W_i)."""
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64).to(dtype)
        for size in sizes
    ]


def outputs_and_gradients(function, levels, parameters):
    """Outputs, and gradients of levels and parameters; None for what is not used."""
    leaves = [level.clone().requires_grad_() for level in levels]
    outputs = function(leaves)
    generator = torch.Generator().manual_seed(2)
    cotangents = [
        torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
        for output in outputs
    ]
    # A single level leaves the other branches' parameters unused.
    grads = torch.autograd.grad(outputs, [*leaves, *parameters], cotangents, allow_unused=True)
    return outputs, grads


def assert_same(actual, expected, tolerance):
    """Differences are at most `tolerance` times the largest value, or than 1."""
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        if one is None or other is None:
            assert one is other
            continue
        limit = tolerance * max(1, other.abs().max().item())
        torch.testing.assert_close(one, other, rtol=0, atol=limit, check_dtype=False)
