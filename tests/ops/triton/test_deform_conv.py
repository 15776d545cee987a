"""Triton's deformable convolution: its tests under the interpreter, and what compiles."""

import importlib.util
import os

import pytest
import torch

from dyhead.ops.triton import launch_options
from dyhead.ops.triton.launch_options import precision

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)
# Compiling needs kernels that were not made for the interpreter.
compiles = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="Triton interprets its kernels"
)


@needs_triton
@pytest.mark.parametrize(
    "suite", ["ops/test_small_triton_deform_conv.py", "ops/test_deform_conv.py"]
)
def test_equals_plain_pytorch_under_tritons_interpreter(suite, interpret):
    result = interpret(suite)
    assert result.returncode == 0, result.stdout[-10000:] + result.stderr[-2000:]
    assert " passed" in result.stdout  # not skipped, as without the interpreter


def source(function, pointers, constants):
    """A kernel as it would be called, with aligned pointers."""
    from triton.compiler import ASTSource

    signature, attributes = {}, {}
    for index, name in enumerate(function.arg_names):
        if name in constants:
            signature[name] = "constexpr"
        else:
            signature[name] = "*" + pointers[name]
            attributes[(index,)] = [["tt.divisibility", 16]]
    return ASTSource(function, signature, constants, attributes)


def compile_kernel(name, dtype, tiles, capability, descriptors="i32", **constants):
    """Compile down to machine code: no GPU is needed for that."""
    import triton
    from triton.backends.compiler import GPUTarget

    from dyhead.ops.triton import deform_kernels

    kind = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
    by_dtype = ("table", "kernels", "biases", "output", "grad_output")
    in_float32 = ("planes", "grad_table", "grad_offset", "grad_mask", "partial")
    pointers = {**dict.fromkeys(by_dtype, kind), **dict.fromkeys(in_float32, "fp32")}
    pointers |= {"descriptors": descriptors, "parts": "i32", "maps": "i32"}
    constants |= {"COUNT": 13, "CHANNELS": 256, "OUTPUTS": 256, "TAPS": 9, "KERNEL_X": 3}
    for pair in ("PADDING", "DILATION"):
        constants |= {f"{pair}_Y": 1, f"{pair}_X": 1}
    options = {key: tiles[key] for key in ("num_warps", "num_stages", "enable_fp_fusion")}
    constants |= {key: value for key, value in tiles.items() if key not in options}
    constants["PRECISION"] = precision(dtype)
    function = getattr(deform_kernels, name)
    return triton.compile(
        source(function, pointers, constants),
        target=GPUTarget("cuda", capability, 32),
        options=options,
    )


FORWARD = {"HAS_BIAS": True, "HAS_MOMENTS": True}
CASES = [
    pytest.param(torch.bfloat16, 90, id="bfloat16-90"),
    pytest.param(torch.float16, 90, id="float16-90", marks=pytest.mark.slow),
    pytest.param(torch.float32, 90, id="float32-90", marks=pytest.mark.slow),
    pytest.param(torch.bfloat16, 80, id="bfloat16-80", marks=pytest.mark.slow),
    pytest.param(torch.float32, 80, id="float32-80", marks=pytest.mark.slow),
]


@needs_triton
@compiles
@pytest.mark.parametrize("dtype, capability", CASES)
@pytest.mark.parametrize("positions", [100, 100_000])
def test_forward_compiles_for_the_blocks_shapes(dtype, capability, positions):
    pytest.importorskip("triton", minversion="3.3")
    tiles = launch_options.forward_options(dtype, 256, 256, positions)
    compiled = compile_kernel("forward_kernel", dtype, tiles, capability, **FORWARD)
    assert compiled.asm["cubin"]
    if capability == 80:  # GPUs of compute capability 8.6 have no more
        assert compiled.metadata.shared <= 99 * 1024


@needs_triton
@compiles
@pytest.mark.slow
def test_every_kernel_compiles_for_addresses_of_64_bits():
    pytest.importorskip("triton", minversion="3.3")
    dtype = torch.bfloat16
    needs = {"NEED_TABLE": True, "NEED_SAMPLES": True}
    for name, tiles, constants in (
        (
            "forward_kernel",
            launch_options.forward_options(dtype, 256, 256, 9),
            FORWARD,
        ),
        (
            "backward_samples_kernel",
            launch_options.backward_samples_options(dtype, 256, 256),
            needs,
        ),
        (
            "backward_kernels_kernel",
            launch_options.backward_weight_options(dtype, 256, 256),
            {},
        ),
    ):
        compiled = compile_kernel(name, dtype, tiles, 90, descriptors="i64", **constants)
        assert compiled.asm["cubin"]


@needs_triton
@compiles
@pytest.mark.parametrize("dtype, capability", CASES)
def test_backward_compiles_for_the_blocks_shapes(dtype, capability):
    pytest.importorskip("triton", minversion="3.3")
    tiles = launch_options.backward_samples_options(dtype, 256, 256)
    needs = {"NEED_TABLE": True, "NEED_SAMPLES": True}
    by_sample = compile_kernel("backward_samples_kernel", dtype, tiles, capability, **needs)
    tiles = launch_options.backward_weight_options(dtype, 256, 256)
    by_weight = compile_kernel("backward_kernels_kernel", dtype, tiles, capability)
    for compiled in (by_sample, by_weight):
        assert compiled.asm["cubin"]
        if capability == 80:
            assert compiled.metadata.shared <= 99 * 1024


def test_tf32_only_where_pytorch_allows_it():
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        assert precision(torch.float32) == "tf32x3"
        torch.set_float32_matmul_precision("high")
        assert precision(torch.float32) == "tf32"
    finally:
        torch.set_float32_matmul_precision(before)
