"""How a block is executed: hooks fire, and what the fused form does not know is not lost."""

import logging

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from dyhead.layers import BlockOptions, DyHeadBlock, DyReLU, dispatch
from dyhead.layers.dispatch import Execution, choose_execution

SIZES = [(6, 8), (3, 4), (2, 2)]
HOOKS = (
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
)
MODULES = [name for name, _ in DyHeadBlock(16, 16).named_modules() if name]


def make_block(**options):
    torch.manual_seed(0)
    block = DyHeadBlock(16, 16, BlockOptions(**options))
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return block


def make_levels():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 16, *size, generator=generator).requires_grad_() for size in SIZES]


def run(block):
    """Outputs, and gradients of the levels and the parameters."""
    levels = make_levels()
    outputs = block(levels)
    loss = sum(output.sin().sum() for output in outputs)
    return [*outputs, *torch.autograd.grad(loss, [*levels, *block.parameters()])]


def assert_close(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def execution_of(block):
    return choose_execution(block.fused, block.children())


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
    assert_close(hooked, expected)
    assert all(map(torch.equal, run(block), expected)), "it is fused again"


def test_what_a_hook_returns_counts():
    block = make_block()
    block.task_attention.register_forward_hook(lambda module, inputs, output: output * 2)
    assert_close(block(make_levels()), [2 * output for output in make_block()(make_levels())])


def test_what_a_hook_saw_of_offsets_stays_as_it_was():
    block, seen = make_block(), []
    convolution = block.spatial_attention.offset_and_mask
    with convolution.register_forward_hook(lambda module, inputs, output: seen.append(output)):
        block(make_levels())
    for maps, level in zip(seen, make_levels(), strict=True):
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
    assert execution_of(block) is Execution.PLAIN
    assert all(map(torch.equal, run(block), run(plain)))
    assert not torch.equal(block(make_levels())[0], make_block()(make_levels())[0])


def test_what_the_fused_form_does_not_know_compiles_too():
    block = make_block()
    put_scaled(block)
    torch.compiler.reset()
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert_close(compiled(make_levels()), block(make_levels()))
    torch.compiler.reset()


def test_hooks_fire_in_a_compiled_block():
    block = make_block()
    block.task_attention.register_forward_hook(lambda module, inputs, output: 2 * output)
    torch.compiler.reset()
    compiled = torch.compile(block, backend="aot_eager")
    with torch.no_grad():
        assert_close(compiled(make_levels()), block(make_levels()))
    torch.compiler.reset()


def test_the_log_has_one_line_about_each_reason(caplog):
    dispatch._log_once.cache_clear()
    blocks = [make_block(), make_block()]
    for block in blocks:
        put_activation(block)
    blocks[1].scale_attention.register_forward_hook(lambda *_: None)
    with caplog.at_level(logging.INFO, "dyhead.layers.dispatch"):
        for block in [*blocks, *blocks]:
            block(make_levels())
    assert caplog.messages == [
        "DyHead blocks run one module after the other, which is slower: the fused form does not"
        " know SiLU.",
        "DyHead blocks run one module after the other, which is slower: ScaleAttention has hooks.",
    ]


def test_the_form_follows_from_what_is_recorded():
    attentions = list(make_block().children())
    assert choose_execution(True, attentions) is Execution.AUTOGRAD
    with torch.no_grad():
        assert choose_execution(True, attentions) is Execution.INFERENCE
    assert choose_execution(False, attentions) is Execution.PLAIN
