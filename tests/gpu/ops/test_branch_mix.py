"""Triton's passes of the fused block on the pyramids of real images, against float64.

The reference is plain PyTorch on the same device. As with the convolutions, the self-check is left
out: these tests can tell what is wrong.
"""

import pytest
import torch
from gpu_cases import (
    BATCHES,
    CHANNELS,
    EXACT,
    IMAGE,
    KERNEL_CASES,
    ROUNDED,
    assert_near,
    level_sizes,
    normals,
)
from pyramid_cases import block_maps

from dyhead.ops.pytorch.branch_mix import PyTorchPasses
from dyhead.ops.triton.branch_mix import TritonPasses

PLAIN, TRITON = PyTorchPasses(), TritonPasses()
NEAR = 1e-3  # dyrelu that are less apart may change places by rounding


class Case:
    """The arguments of the passes, for the levels of an image.

    The gradients of the outputs are zero where the two dyrelu nearly meet: which of them gets it is
    a matter of rounding there. Where they are one and the same, both get a half.
    """

    def __init__(self, image, batch, dtype=torch.float32):
        normal = normals(0)
        self.sizes = level_sizes(image)
        self.maps = [
            [own and normal(batch, *own, CHANNELS).to(dtype) for own in level]
            for level in block_maps(self.sizes)
        ]
        self.scales = normal(len(self.maps), 3, batch, CHANNELS)
        self.dyrelu = normal(len(self.maps), 5, batch, CHANNELS)
        self.dyrelu[:, 1:, :1, 0] = 0
        self.moments = normal(3, *self.scales.shape)
        grads = [normal(batch, *size, CHANNELS).to(dtype) for size in self.sizes]
        self.grads = [
            grad.where((gap == 0) | (gap > NEAR), 0)
            for grad, gap in zip(grads, self.gaps(), strict=True)
        ]

    def gaps(self):
        """Distances of the two dyrelu."""
        dyrelu = self.dyrelu.double()
        dyrelu = torch.stack(
            (dyrelu[:, 0], dyrelu[:, 1] - dyrelu[:, 3], dyrelu[:, 2] - dyrelu[:, 4]), dim=1
        )
        dyrelu = torch.cat((dyrelu, -dyrelu[:, 1:]), dim=1)  # the larger of both is the distance
        return PLAIN.mix_forward(
            doubled(self.maps), self.scales.double(), dyrelu, self.sizes, False
        )

    def run(self, passes):
        """Results of every pass by name; in float64 with the plain ones."""
        as_type = doubled if passes is PLAIN else lambda value: value
        grads, maps, scales, dyrelu, moments = map(
            as_type, (self.grads, self.maps, self.scales, self.dyrelu, self.moments)
        )
        grad_scales, grad_dyrelu = passes.mix_reductions(grads, maps, scales, dyrelu)
        return {
            "moments": list(passes.channel_moments(maps, self.sizes).unbind(2)),
            "outputs": passes.mix_forward(maps, scales, dyrelu, self.sizes, False),
            "gradients of scales": [grad_scales],
            "gradients of dyrelu": list(grad_dyrelu.unbind(1)),
            "gradients of maps": present(passes.mix_backward(grads, maps, scales, dyrelu, moments)),
        }

    def is_upsampled(self):
        """Of every map that is there, whether it is smaller than its level."""
        levels = zip(self.maps, self.sizes, strict=True)
        return [image.shape[1:3] != size for level, size in levels for image in present([level])]


def doubled(value):
    if isinstance(value, list):
        return [doubled(item) for item in value]
    return value if value is None else value.double()


def present(levels):
    return [image for level in levels for image in level if image is not None]


@pytest.fixture(scope="module")
def plain():
    """A case in float32, and what the kernels give."""
    case = Case(IMAGE, BATCHES[0])
    return case, case.run(TRITON)


@pytest.mark.parametrize("image, batch, dtype", KERNEL_CASES, ids=str)
def test_every_pass_equals_the_float64_double(image, batch, dtype):
    case = Case(image, batch, dtype)
    ours, exact = case.run(TRITON), case.run(PLAIN)
    for name, values in ours.items():
        rounded = name in ("outputs", "gradients of maps")
        assert {value.dtype for value in values} == {dtype if rounded else torch.float32}
        label = f"mix {dtype} {name}".replace("torch.", "")
        assert_near(label, values, exact[name], ROUNDED[dtype] if rounded else EXACT)


def test_variance_of_deviations_much_smaller_than_the_mean():
    case = Case(IMAGE, BATCHES[0])
    for image in present(case.maps):
        image.mul_(0.1).add_(300)
    found = TRITON.channel_moments(case.maps, case.sizes)
    exact = PLAIN.channel_moments(doubled(case.maps), case.sizes)
    assert_near("mean of 3000 deviations", [found[:, :, 0]], [exact[:, :, 0]], 1e-6)
    assert_near("variance with it", [found[:, :, 1]], [exact[:, :, 1]], 1e-3)


def test_two_runs_are_bit_equal_but_for_the_gradients_of_upsampled_maps(plain):
    """Several positions of a level add to one of a smaller map: atomically, in any order."""
    case, expected = plain
    again = case.run(TRITON)
    gradients = again.pop("gradients of maps"), expected["gradients of maps"]
    for name, values in again.items():
        assert all(map(torch.equal, values, expected[name])), name
    assert len(set(case.is_upsampled())) == 2
    for upsampled, found, before in zip(case.is_upsampled(), *gradients, strict=True):
        assert upsampled or torch.equal(found, before)
        assert_near("order of atomic additions", [found], [before], EXACT)


def test_maps_that_follow_each_other_in_memory_give_the_same(plain):
    """As a convolution of all of them leaves them: then they are read without a copy."""
    case, expected = plain
    images = present(case.maps)
    joined = torch.cat([image.flatten() for image in images])
    parts = joined.split([image.numel() for image in images])
    rest = iter(part.view_as(image) for part, image in zip(parts, images, strict=True))
    maps = [[image if image is None else next(rest) for image in level] for level in case.maps]
    outputs = TRITON.mix_forward(maps, case.scales, case.dyrelu, case.sizes)
    assert all(map(torch.equal, outputs, expected["outputs"]))
    moments = TRITON.channel_moments(maps, case.sizes)
    assert torch.equal(moments, torch.stack(expected["moments"], dim=2))


def test_an_empty_batch_has_empty_outputs():
    case = Case(IMAGE, 0, torch.bfloat16)
    ours = case.run(TRITON)
    assert all(not value.numel() for values in ours.values() for value in values)
    assert len(ours["gradients of maps"]) == len(present(case.maps))
