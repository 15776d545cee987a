"""Triton's passes of the fused block: their tests under the interpreter, and what compiles."""

import importlib.util
import os

import pytest

from dyhead.ops.triton.branch_mix import JOIN_OPTIONS, tile_options

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


@pytest.mark.parametrize(
    "suite",
    [
        "ops/test_small_triton_branch_mix.py",
        "ops/test_branch_mix.py",
        "layers/test_block.py",
        "layers/test_execution.py",
    ],
)
def test_equals_plain_pytorch_under_tritons_interpreter(suite, interpret):
    result = interpret(suite)
    assert result.returncode == 0, result.stdout[-10000:] + result.stderr[-2000:]
    assert " passed" in result.stdout  # not skipped, as without the interpreter


def compile_kernel(name, kind, capability, addresses):
    """Compile for 256 channels and three branches."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from dyhead.ops.triton import mix_backward_kernels, mix_kernels, moments_kernels

    files = (mix_backward_kernels, mix_kernels, moments_kernels)
    function = next(getattr(file, name) for file in files if hasattr(file, name))
    tiles = tile_options(256)
    if name.startswith("join"):
        tiles = dict(JOIN_OPTIONS)
    options = {key: tiles.pop(key) for key in ("num_warps", "enable_fp_fusion")}
    constants = {"CHANNELS": 256, "LEVELS": 5, "BRANCHES": 3, "MAPS": 15, **tiles}
    small = ("scales", "dyrelu", "partial", "moments", "grad_scales", "grad_dyrelu", "collected")
    pointers = {
        **dict.fromkeys(("table", "output", "grad_output", "gradients"), kind),
        **dict.fromkeys(small, "fp32"),
        **dict.fromkeys(("maps", "levels"), addresses),
    }
    constants = {key: value for key, value in constants.items() if key in function.arg_names}
    signature, attributes = {}, {}
    for index, argument in enumerate(function.arg_names):
        if argument in constants:
            signature[argument] = "constexpr"
        elif argument in pointers:
            signature[argument] = "*" + pointers[argument]
            attributes[(index,)] = [["tt.divisibility", 16]]
        else:
            signature[argument] = "i32"
    return triton.compile(
        ASTSource(function, signature, constants, attributes),
        target=GPUTarget("cuda", capability, 32),
        options=options,
    )


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="Triton interprets")
@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, capability, addresses",
    [
        ("bf16", 90, "i32"),
        ("bf16", 90, "i64"),
        ("fp16", 90, "i32"),
        ("fp32", 90, "i32"),
        ("bf16", 80, "i32"),
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        "moments_kernel",
        "join_moments_kernel",
        "forward_kernel",
        "reductions_kernel",
        "join_reductions_kernel",
        "backward_kernel",
        "finish_upsampled_kernel",
    ],
)
def test_every_kernel_compiles_for_the_blocks_shapes(name, kind, capability, addresses):
    pytest.importorskip("triton", minversion="3.3")
    assert compile_kernel(name, kind, capability, addresses).asm["cubin"]
