"""Deformable convolutions on a back end of choice, without asking whether it serves."""

import functools

from dyhead.ops import BACKENDS, DeformConv
from dyhead.ops.deform_conv import convolve


def all_by(name, calls, level_sizes=None):
    """Outputs of the convolutions `calls`; with levels' sizes, their moments too."""
    calls = [DeformConv(*call) for call in calls]
    outputs, moments = convolve(BACKENDS[name], calls, level_sizes)
    return outputs if level_sizes is None else (outputs, moments)


def one_by(name, *arguments):
    """The output of one convolution, whose arguments are those of `DeformConv`."""
    (output,) = all_by(name, [arguments])
    return output


by_cpp, by_pytorch, by_triton = (
    functools.partial(one_by, name) for name in ("cpp", "pytorch", "triton")
)
