"""Execution of blocks: memory, checkpointing, mixed precision, streams, graphs, torch.compile."""

import copy
import gc

import pytest
import torch
from compared_blocks import make_cotangents, make_levels, make_stack, outcome, plain_double
from gpu_cases import DEVICE, EXACT, IMAGE, IS_REAL, assert_near, level_sizes, requested_bytes

from dyhead.ops.pytorch import device_constants
from dyhead.ops.triton import self_check

pytestmark = pytest.mark.usefixtures("triton_everywhere", "float32_convolutions")
needs_cuda = pytest.mark.skipif(not IS_REAL, reason="CUDA alone has it")

SIZES = level_sizes(IMAGE)[: None if IS_REAL else 2]
FEW_SIZES = (
    SIZES[-3:] if IS_REAL else SIZES
)  # where every convolution is launched and compiled alone
ROUNDS = 5
SCALE = 64.0  # of the loss


def assert_same(name, ours, theirs, of_gradients=3 * EXACT):
    """But for the order of sums, and of atomic additions."""
    assert_near(f"{name} outputs", ours.outputs, theirs.outputs, EXACT)
    assert_near(f"{name} gradients of levels", ours.levels, theirs.levels, of_gradients)
    for parameter, expected in theirs.parameters.items():
        found = ours.parameters[parameter]
        assert_near(f"{name} gradients of parameters", [found], [expected], of_gradients)


def make_case(num_blocks, sizes=SIZES, near=1e-3):
    """A stack, levels, and gradients of its outputs."""
    stack, levels = make_stack(num_blocks), make_levels(sizes, batch=1)
    return stack, levels, make_cotangents(levels, near, plain_double(stack))


def collected_bytes():
    """Bytes in use on the GPU once nothing is pending and no cycle holds anything."""
    gc.collect()
    torch.cuda.synchronize()
    return requested_bytes()


def test_checkpointing_changes_nothing_but_the_memory():
    stack, levels, cotangents = make_case(1)
    expected = outcome(stack, levels, cotangents)
    checkpointed = make_stack(1, recompute=True)
    ours = outcome(checkpointed, levels, cotangents)
    assert all(map(torch.equal, ours.outputs, expected.outputs))
    assert_same("checkpointing", ours, expected)


@needs_cuda
def test_checkpointing_keeps_less_for_backward():
    held, levels = {}, make_levels(SIZES, batch=1)
    for recompute in (False, True):
        stack = make_stack(2, recompute)
        before = collected_bytes()
        outputs = stack([level.requires_grad_() for level in levels])
        held[recompute] = collected_bytes() - before
        del outputs
    size = sum(level.nbytes for level in levels)
    # Between the blocks, and at the end: without checkpointing maps of every branch besides.
    assert held[True] < 2.5 * size
    assert held[True] < 0.6 * held[False]


def test_a_step_in_mixed_precision_with_a_scaled_loss():
    stack, levels, cotangents = make_case(1, near=0.02)
    before = copy.deepcopy(stack.state_dict())
    exact = outcome(plain_double(stack), [level.double() for level in levels], cotangents)
    scaler = torch.amp.GradScaler(DEVICE.type, init_scale=SCALE)
    optimizer = torch.optim.SGD(stack.parameters(), lr=0.1)
    with torch.autocast(DEVICE.type, torch.float16):
        outputs = stack(levels)
    pairs = zip(outputs, cotangents, strict=True)
    scaler.scale(sum((output.float() * given).sum() for output, given in pairs)).backward()
    scaler.unscale_(optimizer)
    for name, parameter in stack.named_parameters():
        assert_near("scaled loss", [parameter.grad], [exact.parameters[name]], 4e-3)
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == SCALE  # nothing overflowed
    for name, parameter in stack.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name] - 0.1 * parameter.grad)


def capture(function):
    """A CUDA graph of a function, and its result, which every replay writes anew."""
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        function()  # kernels are compiled, and constants copied, before
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function()
    return graph, result


@needs_cuda
@torch.inference_mode()
def test_replaying_a_cuda_graph_equals_eager_on_new_inputs():
    stack, levels = make_stack(2), make_levels(SIZES, batch=1)
    graph, outputs = capture(lambda: stack(levels))
    device_constants._kept.cache_clear()  # the graph keeps those that it reads
    for seed in (2, 3):
        fresh = make_levels(SIZES, batch=1, seed=seed)
        for level, values in zip(levels, fresh, strict=True):
            level.copy_(values)
        graph.replay()
        assert_near("graph of forward", outputs, stack(fresh), EXACT)


@needs_cuda
def test_replaying_a_graph_of_forward_and_backward_equals_eager():
    stack, levels, cotangents = make_case(1)
    expected = outcome(stack, levels, cotangents)
    graph, ours = capture(lambda: outcome(stack, levels, cotangents))
    for _ in range(2):  # what atomic additions add to is zeroed anew
        graph.replay()
    torch.cuda.synchronize()
    assert_same("graph", ours, expected)


@needs_cuda
def test_blocks_on_several_streams_at_once_give_what_one_stream_gives():
    cases = [(make_stack(1), make_levels(SIZES, batch=1, seed=seed)) for seed in range(4)]
    expected = [outcome(stack, levels, levels) for stack, levels in cases]
    streams = [torch.cuda.Stream() for _ in cases]
    found = [[] for _ in cases]
    torch.cuda.synchronize()
    for _ in range(ROUNDS):
        for (stack, levels), stream, results in zip(cases, streams, found, strict=True):
            with torch.cuda.stream(stream):
                results.append(outcome(stack, levels, levels))
    torch.cuda.synchronize()
    for results, before in zip(found, expected, strict=True):
        for ours in results:
            assert_same("streams", ours, before)


@needs_cuda
@pytest.mark.parametrize("first_is_busy", [True, False])
def test_the_first_use_on_one_stream_serves_another_at_once(first_is_busy):
    """Small tables are copied when sizes are first met: whoever else needs them waits for them."""
    stack, levels = make_stack(1), make_levels(SIZES, batch=1)
    with torch.inference_mode():
        expected = stack(levels)
        device_constants._kept.cache_clear()
        self_check._passes.cache_clear()
        torch.cuda.synchronize()
        first, second = torch.cuda.Stream(), torch.cuda.Stream()
        with torch.cuda.stream(first if first_is_busy else torch.cuda.default_stream()):
            torch.cuda._sleep(10**8)  # cycles, of some tens of milliseconds
        with torch.cuda.stream(first):
            early = stack(levels)
        with torch.cuda.stream(second):
            late = stack(levels)
        torch.cuda.synchronize()
    assert_near("first use", [*early, *late], [*expected, *expected], EXACT)


@needs_cuda
def test_memory_is_returned():
    """Iterations leave nothing; without the stack and its tensors all is as it was before them."""
    cotangents = make_levels(SIZES, batch=1, seed=3)

    def run(rounds):
        stack, levels = make_stack(2), make_levels(SIZES, batch=1)
        optimizer = torch.optim.SGD(stack.parameters(), lr=1e-6)
        allocated = []
        for _ in range(rounds):
            optimizer.zero_grad()
            outputs = stack([level.requires_grad_() for level in levels])
            torch.autograd.backward(outputs, cotangents)
            optimizer.step()
            del outputs
            allocated.append(collected_bytes())
        return allocated

    run(1)  # constants, and what cuBLAS and cuDNN keep
    before = collected_bytes()
    first, *others = run(ROUNDS)
    assert set(others) == {first}
    assert collected_bytes() == before


def test_compiled_blocks_equal_eager_ones():
    """In one graph; every convolution is one operator there, and PyTorch fuses the rest."""
    stack, levels, cotangents = make_case(2 if IS_REAL else 1, FEW_SIZES)
    expected = outcome(stack, levels, cotangents)
    compiled = torch.compile(
        stack, fullgraph=True, dynamic=False, backend="inductor" if IS_REAL else "aot_eager"
    )
    ours = outcome(compiled, levels, cotangents)
    ours = ours._replace(
        parameters={name.removeprefix("_orig_mod."): g for name, g in ours.parameters.items()}
    )
    # As within any stack, where two lines meet in the first block rounding chooses.
    assert_same("compiled", ours, expected, 1e-2)


@needs_cuda
@torch.no_grad()
def test_compiled_with_cuda_graphs_equals_eager_on_new_inputs():
    stack = make_stack(1)
    compiled = torch.compile(stack, fullgraph=True, dynamic=False, mode="reduce-overhead")
    for seed in range(4):  # the first calls record
        levels = make_levels(FEW_SIZES, batch=1, seed=seed)
        torch.compiler.cudagraph_mark_step_begin()
        outputs = [output.clone() for output in compiled(levels)]
        assert_near("reduce-overhead", outputs, stack(levels), EXACT)
