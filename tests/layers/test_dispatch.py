"""A block's execution: hooks fire, and what the fused form does not know is not lost."""

import logging

import pytest
import torch
from small_blocks import assert_same, make_block, make_levels, outputs_and_gradients
from torch import nn
from torch.nn.utils import parametrize

from dyhead.layers import DyHeadBlock, DyReLU, dispatch
from dyhead.layers.dispatch import Execution, choose_execution

SIZES = [(6, 8), (3, 4), (2, 2)]
HOOKS = (
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
)
MODULES = [name for name, _ in DyHeadBlock(16, 16).named_modules() if name]


def run(block):
    """Outputs, and gradients of the levels and the parameters."""
    outputs, grads = outputs_and_gradients(block, make_levels(SIZES), list(block.parameters()))
    return [*outputs, *grads]


def execution_of(block):
    return choose_execution(block.fused, tuple(block.children()))


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # of levels in a list
@pytest.mark.parametrize("order", ["spatial_scale_task", "scale_spatial_task"])
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("name", MODULES)
def test_hooks_on_every_module_of_a_block_fire_and_change_nothing(name, hook, order):
    block, calls = make_block(order=order), []
    expected = run(block)
    handle = getattr(block.get_submodule(name), hook)(lambda *_: calls.append(name))
    hooked = run(block)
    handle.remove()
    assert len(calls) >= len(SIZES) - 1  # the outer levels have one neighbour
    assert_same(hooked, expected, 1e-10)
    assert all(map(torch.equal, run(block), expected)), "it is fused again"


def test_what_a_hook_returns_counts():
    block = make_block()
    block.task_attention.register_forward_hook(lambda module, inputs, output: output * 2)
    assert_same(
        block(make_levels(SIZES)),
        [2 * output for output in make_block()(make_levels(SIZES))],
        1e-10,
    )


def test_what_a_hook_saw_of_offsets_stays_as_it_was():
    block, seen = make_block(), []
    convolution = block.spatial_attention.offset_and_mask
    with convolution.register_forward_hook(lambda module, inputs, output: seen.append(output)):
        block(make_levels(SIZES))
    for maps, level in zip(seen, make_levels(SIZES), strict=True):
        torch.testing.assert_close(maps, convolution(level))
        assert maps[:, 18:].min() < 0, "logits of masks, not masks"


class Scaled(DyReLU):
    """A subclass that computes something else."""

    def forward(self, feature):
        return super().forward(feature) / 2


def put_scaled(block):
    block.task_attention = Scaled(16)


def put_activation(block):
    block.task_attention = nn.SiLU()


def put_norm(block):
    block.spatial_attention.finer.norm = nn.GroupNorm(4, 16)


def put_other_norm(block):
    block.spatial_attention.coarser.norm = nn.InstanceNorm2d(16)


def put_parametrization(block):
    parametrize.register_parametrization(block.task_attention.expand, "weight", nn.Tanh())


UNKNOWN = [put_scaled, put_activation, put_norm, put_other_norm, put_parametrization]


@pytest.mark.parametrize("put", UNKNOWN)
def test_what_the_fused_form_does_not_know_runs_plainly(put):
    block, plain = make_block(), make_block(fused=False)
    for each in (block, plain):
        torch.manual_seed(0)
        put(each)
        each.double()
    assert execution_of(block) is Execution.PLAIN
    assert all(map(torch.equal, run(block), run(plain)))
    assert not torch.equal(block(make_levels(SIZES))[0], make_block()(make_levels(SIZES))[0])


def test_what_the_fused_form_does_not_know_compiles_too():
    block = make_block()
    put_scaled(block)
    block.double()
    torch.compiler.reset()
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert_same(compiled(make_levels(SIZES)), block(make_levels(SIZES)), 1e-10)
    torch.compiler.reset()


def test_hooks_fire_in_a_compiled_block():
    block = make_block()
    block.task_attention.register_forward_hook(lambda module, inputs, output: 2 * output)
    torch.compiler.reset()
    compiled = torch.compile(block, backend="aot_eager")
    with torch.no_grad():
        assert_same(compiled(make_levels(SIZES)), block(make_levels(SIZES)), 1e-10)
    torch.compiler.reset()


def test_the_log_has_one_line_about_each_reason(caplog):
    dispatch._log_once.cache_clear()
    blocks = [make_block(), make_block()]
    for block in blocks:
        put_activation(block)
    blocks[1].scale_attention.register_forward_hook(lambda *_: None)
    with caplog.at_level(logging.INFO, "dyhead.layers.dispatch"):
        for block in [*blocks, *blocks]:
            block(make_levels(SIZES))
    assert caplog.messages == [
        "DyHead blocks run one module after the other, which is slower: the fused form does not"
        " know SiLU.",
        "DyHead blocks run one module after the other, which is slower: ScaleAttention has hooks.",
    ]


def test_the_form_follows_from_what_is_recorded():
    attentions = tuple(make_block().children())
    assert choose_execution(True, attentions) is Execution.AUTOGRAD
    with torch.no_grad():
        assert choose_execution(True, attentions) is Execution.INFERENCE
    assert choose_execution(False, attentions) is Execution.PLAIN
