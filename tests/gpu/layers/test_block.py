"""Fused blocks and stacks against plain ones in float64, on the pyramids of real images."""

import functools
import itertools

import pytest
import torch
from compared_blocks import (
    KERNELS,
    make_cotangents,
    make_levels,
    make_stack,
    outcome,
    plain_double,
)
from gpu_cases import (
    BATCHES,
    DEVICE,
    DTYPES,
    EXACT,
    FLAT_IMAGE,
    IMAGE,
    IS_REAL,
    ODD_IMAGE,
    assert_near,
    level_sizes,
)

from dyhead.ops import branch_mix, choose_backend
from dyhead.ops.triton.branch_mix import TritonPasses

pytestmark = pytest.mark.usefixtures("triton_everywhere", "float32_convolutions")

# Image, batch and type: that of the parameters, else of autocast.
EVERY_CASE = [
    *itertools.product([IMAGE], BATCHES, DTYPES),
    *itertools.product([ODD_IMAGE, FLAT_IMAGE], BATCHES[:1], DTYPES[:1]),
]
FEW_CASES = [(IMAGE, BATCHES[0], torch.float32), (FLAT_IMAGE, BATCHES[0], torch.bfloat16)]

# By norm, of outputs and of gradients: several roundings follow each other.
TOLERANCES = {
    torch.float32: (EXACT, 3 * EXACT),
    torch.bfloat16: (1.2e-2, 3e-2),
    torch.float16: (1.5e-3, 4e-3),
}
OF_STACK = 1e-2  # gradients within a stack, where some values do lie where two lines meet
FORMATS = (torch.contiguous_format, torch.channels_last)
# A value at which lines that are less apart may change places by rounding.
NEAR = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}

# These gradients differ in their last digits between runs on a GPU, as those of the levels do: they
# come after atomic additions, whose order is any. A level's pixels collect what was sampled there,
# and the pixels of a coarser map what its interpolation to the level gave.
NOT_DETERMINISTIC = (
    "spatial_attention.coarser.weight",
    "spatial_attention.coarser.bias",
    "spatial_attention.offset_and_mask.weight",
    "spatial_attention.offset_and_mask.bias",
)


def assert_outcome(name, ours, exact, dtype):
    of_outputs, of_gradients = TOLERANCES[dtype]
    assert_near(f"{name} outputs", ours.outputs, exact.outputs, of_outputs)
    assert_near(f"{name} gradients of levels", ours.levels, exact.levels, of_gradients)
    for parameter, expected in exact.parameters.items():
        found = ours.parameters[parameter]
        assert_near(f"{name} gradient of {parameter}", [found], [expected], of_gradients)


class Case:
    """A stack, its inputs, and what it gives."""

    def __init__(self, sizes, batch=BATCHES[0], dtype=torch.float32, num_blocks=1):
        self.autocast = None if dtype == torch.float32 else dtype
        self.stack = make_stack(num_blocks)
        self.levels = make_levels(sizes, batch)
        self.plain = plain_double(self.stack)
        self.cotangents = make_cotangents(self.levels, NEAR[dtype], self.plain)

    def run(self, memory_format=torch.preserve_format):
        levels = [level.clone(memory_format=memory_format) for level in self.levels]
        return outcome(self.stack, levels, self.cotangents, self.autocast)

    def exact(self):
        return outcome(self.plain, [level.double() for level in self.levels], self.cotangents)


@functools.cache
def first_run():
    """A block in float32, and what it gives."""
    case = Case(level_sizes(IMAGE))
    return case, case.run()


@pytest.mark.parametrize("image, batch, dtype", EVERY_CASE if IS_REAL else FEW_CASES, ids=str)
def test_equals_the_plain_block_in_float64(image, batch, dtype):
    if (image, batch, dtype) == (IMAGE, BATCHES[0], torch.float32):
        case, ours = first_run()
    else:
        case = Case(level_sizes(image), batch, dtype)
        ours = case.run()
    assert {output.dtype for output in ours.outputs} == {dtype}
    assert_outcome(f"block {dtype}".replace("torch.", ""), ours, case.exact(), dtype)


def test_a_stack_equals_the_plain_one_in_float64():
    case = Case(level_sizes(IMAGE)[: None if IS_REAL else 2], num_blocks=2)
    ours, exact = case.run(), case.exact()
    assert_near("stack outputs", ours.outputs, exact.outputs, 5 * EXACT)
    assert_near("stack gradients of levels", ours.levels, exact.levels, OF_STACK)
    gradients = list(ours.parameters.values()), list(exact.parameters.values())
    assert_near("stack gradients of parameters", *gradients, OF_STACK)


def test_triton_is_what_runs():
    assert choose_backend(DEVICE) == "triton"
    passes = branch_mix.passes_for([torch.empty(1, device=DEVICE)])
    assert isinstance(passes, TritonPasses)


@pytest.mark.parametrize("memory_format", FORMATS if IS_REAL else FORMATS[1:])
def test_another_run_is_bit_equal_in_one_launch_of_every_kernel(memory_format, note_launches):
    """However the levels are laid out; but for gradients after atomic additions."""
    case, expected = first_run()
    lists = [note_launches(module, names) for module, names in KERNELS.items()]
    ours = case.run(memory_format)
    assert [sorted(names) for names in lists] == [sorted(names) for names in KERNELS.values()]
    assert all(map(torch.equal, ours.outputs, expected.outputs))
    for name, gradient in ours.parameters.items():
        if not name.endswith(NOT_DETERMINISTIC):
            assert torch.equal(gradient, expected.parameters[name]), name
    assert_near("order of atomic additions", ours.levels, expected.levels, EXACT)
    for name in NOT_DETERMINISTIC:
        found, before = (run.parameters[f"0.{name}"] for run in (ours, expected))
        assert_near("order of atomic additions", [found], [before], EXACT)


def test_without_gradients_the_outputs_are_the_same():
    """They may overwrite what was convolved."""
    case, expected = first_run()
    with torch.inference_mode():
        assert all(map(torch.equal, case.stack(case.levels), expected.outputs))


def test_an_empty_batch_has_empty_outputs_and_no_gradients():
    stack, levels = make_stack(), make_levels(level_sizes(IMAGE), 0)
    found = outcome(stack, levels, levels)
    for output, level in zip(found.outputs, levels, strict=True):
        assert output.shape == level.shape
    assert not any(gradient.any() for gradient in found.parameters.values())
