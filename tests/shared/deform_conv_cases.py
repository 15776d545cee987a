"""Modulated deformable convolutions: arguments that fit together, and the definition as a loop."""

import itertools
import math

import torch
from torch import Tensor

ONE = ((1, 1), (1, 1), (1, 1))  # stride, padding, dilation
GEOMETRIES = [  # kernel, stride, padding, dilation
    ((3, 3), *ONE),
    ((3, 3), (2, 2), (1, 1), (1, 1)),
    ((1, 1), (1, 1), (0, 0), (1, 1)),
    ((2, 3), (2, 1), (0, 2), (1, 2)),
    ((3, 1), (1, 3), (2, 1), (2, 3)),
    ((5, 5), (1, 1), (2, 2), (1, 1)),
]


def make_arguments(
    kernel,
    stride,
    padding,
    dilation,
    *,
    channels=(17, 33),
    batch=2,
    size=(13, 11),
    spread=2.0,
    dtype=torch.float32,
):
    """Random input, offset, mask, weight and bias; offsets have a deviation of `spread` pixels."""
    pairs = map(_pair, (stride, padding, dilation))
    out_size = [
        (length + 2 * p - d * (k - 1) - 1) // s + 1
        for length, k, s, p, d in zip(size, kernel, *pairs, strict=True)
    ]
    taps, (ins, outs) = math.prod(kernel), channels
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    return [
        normal(batch, ins, *size),
        normal(batch, 2 * taps, *out_size) * spread,
        normal(batch, taps, *out_size).sigmoid(),
        normal(outs, ins, *kernel) / (ins * taps) ** 0.5,
        normal(outs),
    ]


def in_bfloat16(arguments):
    """Arguments in bfloat16; coordinates and their masks stay float32."""
    return [t if i in (1, 2) else t.bfloat16() for i, t in enumerate(arguments)]


def naive_deform_conv(input, offset, mask, weight, bias, stride, padding, dilation):
    """The definition, one output position and tap at a time."""
    stride, padding, dilation = map(_pair, (stride, padding, dilation))
    output = input.new_zeros(len(input), len(weight), *offset.shape[2:])
    for n, y, x in itertools.product(*map(range, (len(input), *offset.shape[2:]))):
        total = bias.clone()
        for k, (i, j) in enumerate(itertools.product(*map(range, weight.shape[2:]))):
            at_y = y * stride[0] - padding[0] + i * dilation[0] + offset[n, 2 * k, y, x].item()
            at_x = x * stride[1] - padding[1] + j * dilation[1] + offset[n, 2 * k + 1, y, x].item()
            total += weight[:, :, i, j] @ (_bilinear(input[n], at_y, at_x) * mask[n, k, y, x])
        output[n, :, y, x] = total
    return output


def _bilinear(image: Tensor, y: float, x: float) -> Tensor:
    top, left = math.floor(y), math.floor(x)
    value = torch.zeros_like(image[:, 0, 0])
    for dy, dx in itertools.product((0, 1), (0, 1)):
        share = (1 - abs(y - top - dy)) * (1 - abs(x - left - dx))
        value += share * _pixel(image, top + dy, left + dx)
    return value


def _pixel(image: Tensor, y: int, x: int) -> Tensor:
    """The channels at (y, x), zero outside."""
    inside = 0 <= y < image.shape[1] and 0 <= x < image.shape[2]
    return image[:, y, x] if inside else torch.zeros_like(image[:, 0, 0])


def _pair(value):
    return (value, value) if isinstance(value, int) else value
