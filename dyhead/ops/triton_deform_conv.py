"""The modulated deformable convolution in Triton, for CUDA: float32, float16 and bfloat16.

Sampling and matrix product are one kernel: a tile of columns is sampled into shared memory and
multiplied there, so that the columns, K times larger than the input, never reach device memory.
Backward makes the tiles again. Products accumulate in float32 whatever the dtype.

Triton is optional: without it, or where it does not work, `serves` says so and nothing raises.

Shape letters: as in `deform_conv`; P = N * Y * X output positions, R = N * H * W input pixels.
"""

import functools
import importlib.util
import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dyhead.ops.bilinear_bags import deform_conv_by_bags

Pair = tuple[int, int]

logger = logging.getLogger(__name__)

# Up to here a level has too few tiles to fill a GPU: small tiles and deeper pipelines win.
SMALL_LEVEL = 4096
# The weight's gradient is summed over parts of the positions, each at least so long, as many as
# fill the processors with two programs each; every part costs one more float32 copy of the weight.
MIN_SPAN = 256


def serves(device: torch.device) -> bool:
    """Whether this back end works on `device`: tried once on a small problem, then remembered.

    False, with one warning in the log, where Triton is missing or does not work: it compiles on
    first use and needs a working C compiler for that. False without a warning on other devices;
    Triton's interpreter (TRITON_INTERPRET=1) serves CPU, for tests.
    """
    if device.type != "cuda" and not (device.type == "cpu" and _interpreted()):
        return False
    if device.type == "cuda" and device.index is None:
        if not torch.cuda.is_available():
            return False
        device = torch.device("cuda", torch.cuda.current_device())
    return _serves(device)


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@functools.cache
def _serves(device: torch.device) -> bool:
    reason = _reason_against(device)
    if reason:
        logger.warning(
            "The deformable convolution uses torchvision instead of Triton on %s: %s",
            device,
            reason,
        )
    return not reason


def _reason_against(device: torch.device) -> str:
    """Why this back end cannot serve `device`; empty if it can."""
    if not _is_installed():
        return "Triton is not installed."
    try:
        if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
            return "it needs compute capability 8.0."
        for dtype in (torch.float32, torch.bfloat16):
            if not _agrees_with_bags(device, dtype):
                return f"its {dtype} results differ from those of plain PyTorch."
    except torch.OutOfMemoryError:
        raise  # says nothing about the kernels
    except Exception as error:  # whatever goes wrong in a compiler: there is another back end
        logger.debug("Triton's self-check failed.", exc_info=True)
        return f"its self-check failed with {type(error).__name__}: {error}"
    return ""


def _is_installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def _agrees_with_bags(device: torch.device, dtype: torch.dtype) -> bool:
    """Compare a tiny problem, forward and backward, with plain PyTorch in float32."""
    tolerance = 5e-3 if dtype == torch.float32 else 2e-2  # TF32 may be allowed
    shapes = ((1, 18, 5, 7), (1, 18, 3, 5), (1, 9, 3, 5), (17, 18, 3, 3), (17,), (1, 17, 3, 5))
    steps = (0.37, 0.71, 0.53, 0.29, 0.43, 0.61)
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        values = [
            (torch.arange(torch.Size(shape).numel(), dtype=torch.float32) * step).sin().view(shape)
            for shape, step in zip(shapes, steps, strict=True)
        ]
        dtypes = (dtype, torch.float32, torch.float32, dtype, dtype, dtype)
        rounded = [value.to(device, kind) for value, kind in zip(values, dtypes, strict=True)]
        results = []
        exact = [value.float() for value in rounded]
        cases: Any = ((deform_conv_by_triton, rounded), (deform_conv_by_bags, exact))
        for function, (*arguments, grad_output) in cases:
            leaves = [value.detach().requires_grad_() for value in arguments]
            output = function(*leaves, (1, 1), (1, 1), (2, 2))
            grads = torch.autograd.grad(output, leaves, grad_output)
            results.append([output, *grads])
    return all(
        ours.shape == theirs.shape
        and bool((ours.float() - theirs).abs().max() <= tolerance * theirs.abs().max())
        for ours, theirs in zip(*results, strict=True)
    )


def deform_conv_by_triton(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:
    """Compute `modulated_deform_conv2d`: shapes checked, autocast off.

    Args:
        input, weight, bias: one dtype T; float64 is handed on to plain PyTorch.
        offset, mask: float32.
        stride, padding, dilation: (vertical, horizontal).

    Returns:
        (N, O, Y, X) of dtype T, laid out as channels_last.
    """
    if input.dtype == torch.float64:
        return deform_conv_by_bags(input, offset, mask, weight, bias, stride, padding, dilation)
    return _DeformConvByTriton.apply(input, offset, mask, weight, bias, stride, padding, dilation)


class _DeformConvByTriton(torch.autograd.Function):
    """Keeps for backward nothing but its inputs."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        offset: Tensor,
        mask: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
    ) -> Tensor:
        ctx.save_for_backward(input, offset, mask, weight)
        ctx.geometry = stride, padding, dilation
        return _compute_output(input, offset, mask, weight, bias, *ctx.geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[:5]
        arguments = (grad_output, *ctx.saved_tensors, *ctx.geometry, needed)
        grads = gradients_by_triton(*arguments)
        return *grads, None, None, None


def _compute_output(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Tensor:
    """Compute the output alone; arguments as in `deform_conv_by_triton`."""
    from dyhead.ops.triton_deform_kernels import forward_kernel

    call = _Call(input, offset, mask, weight, stride, padding, dilation)
    output = input.new_empty(call.positions, call.outputs)  # (P, O)
    tiles = forward_tiles(input.dtype, call.channels, call.outputs, call.positions)
    grid = (_blocks(call.positions, tiles["BLOCK_P"]), _blocks(call.outputs, tiles["BLOCK_O"]))
    if call.positions:
        with torch.cuda.device_of(input):
            forward_kernel[grid](
                call.table,
                call.offset,
                call.mask,
                call.kernel,
                call.kernel if bias is None else bias,
                output,
                call.positions,
                *call.sizes,
                HAS_BIAS=bias is not None,
                **call.options,
                **tiles,
            )
    return call.as_image(output)


def gradients_by_triton(
    grad_output: Tensor,
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Gradients of input, offset, mask, weight and bias; None where not needed."""
    call = _Call(input, offset, mask, weight, stride, padding, dilation)
    grad_rows = _as_table(grad_output.to(input.dtype))  # (P, O)
    need_input, need_offset, need_mask, need_weight, need_bias = needed
    with torch.cuda.device_of(input):
        by_sample = _sample_gradients(call, grad_rows, need_input, need_offset or need_mask)
        grad_weight = _weight_gradient(call, grad_rows) if need_weight else None
    grad_input, grad_offset, grad_mask = by_sample
    return (
        grad_input,
        grad_offset if need_offset else None,
        grad_mask if need_mask else None,
        grad_weight,
        grad_rows.sum(0, dtype=torch.float32).to(weight.dtype) if need_bias else None,
    )


class _Call:
    """One problem as the kernels see it: tables, strides, sizes and constants."""

    def __init__(
        self,
        input: Tensor,
        offset: Tensor,
        mask: Tensor,
        weight: Tensor,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
    ) -> None:
        self.batch, self.channels, self.height, self.width = input.shape
        self.outputs, _, kernel_y, kernel_x = weight.shape
        self.taps = kernel_y * kernel_x
        self.out_height, self.out_width = offset.shape[2:]
        self.positions = self.batch * self.out_height * self.out_width
        self.table = _as_table(input)  # (R, C)
        self.kernel = weight.permute(0, 2, 3, 1).contiguous()  # (O, kernel height, width, C)
        # Any layout will do, slices of one convolution's channels too: no copy of what is strided.
        self.offset, self.mask = offset.flatten(2), mask.flatten(2)
        self.sizes = (
            self.out_height * self.out_width,
            self.out_width,
            self.height,
            self.width,
            *self.offset.stride(),
            *self.mask.stride(),
        )
        values = max(self.table.numel(), self.positions * max(self.outputs, 2 * self.taps))
        self.options = {
            "CHANNELS": self.channels,
            "OUTPUTS": self.outputs,
            "TAPS": self.taps,
            "KERNEL_X": kernel_x,
            "STRIDE_Y": stride[0],
            "STRIDE_X": stride[1],
            "PADDING_Y": padding[0],
            "PADDING_X": padding[1],
            "DILATION_Y": dilation[0],
            "DILATION_X": dilation[1],
            "WIDE": max(values, _reach(self.offset), _reach(self.mask)) >= 2**31,
            "PRECISION": precision(input.dtype),
        }

    def as_image(self, rows: Tensor) -> Tensor:
        """(P, O) -> (N, O, Y, X), a view."""
        return rows.view(self.batch, self.out_height, self.out_width, self.outputs).permute(
            0, 3, 1, 2
        )


def _sample_gradients(
    call: _Call, grad_rows: Tensor, need_input: bool, need_samples: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of input, offset and mask; None where not needed."""
    from dyhead.ops.triton_deform_kernels import backward_samples_kernel

    if not (need_input or need_samples):
        return None, None, None
    dtype, out_size = call.table.dtype, (call.out_height, call.out_width)
    grad_table = grad_rows.new_zeros(
        call.table.shape if need_input else (1, 1), dtype=torch.float32
    )
    # Written whole where needed; the kernel needs an address also where not.
    grad_offset = call.offset.new_empty(call.batch, 2 * call.taps, *out_size)
    grad_mask = call.mask.new_empty(call.batch, call.taps, *out_size)
    tiles = backward_samples_tiles(dtype, call.channels, call.outputs)
    if call.positions:
        backward_samples_kernel[(_blocks(call.positions, tiles["BLOCK_P"]), call.taps)](
            call.table,
            call.offset,
            call.mask,
            call.kernel,
            grad_rows,
            grad_table,
            grad_offset,
            grad_mask,
            call.positions,
            *call.sizes,
            NEED_TABLE=need_input,
            NEED_SAMPLES=need_samples,
            **call.options,
            **tiles,
        )
    grad_input = None
    if need_input:
        image = grad_table.to(dtype).view(call.batch, call.height, call.width, call.channels)
        grad_input = image.permute(0, 3, 1, 2)
    return grad_input, grad_offset, grad_mask


def _weight_gradient(call: _Call, grad_rows: Tensor) -> Tensor:
    """Gradient of the convolution's weight, laid out as channels_last."""
    from dyhead.ops.triton_deform_kernels import backward_weight_kernel

    tiles = backward_weight_tiles(call.table.dtype, call.channels, call.outputs)
    splits = _splits(call, tiles)
    span = _blocks(_blocks(call.positions, splits), tiles["BLOCK_P"]) * tiles["BLOCK_P"]
    if not call.positions:
        return torch.zeros_like(call.kernel).permute(0, 3, 1, 2)
    partial = grad_rows.new_empty(splits, *call.kernel.shape, dtype=torch.float32)
    tap_blocks = call.taps * _blocks(call.channels, tiles["BLOCK_C"])
    backward_weight_kernel[tap_blocks, _blocks(call.outputs, tiles["BLOCK_O"]), splits](
        call.table,
        call.offset,
        call.mask,
        grad_rows,
        partial,
        call.positions,
        span,
        *call.sizes,
        **call.options,
        **tiles,
    )
    return partial.sum(0).to(call.kernel.dtype).permute(0, 3, 1, 2)


def forward_tiles(
    dtype: torch.dtype, channels: int, outputs: int, positions: int
) -> dict[str, int]:
    """Tile sizes of the forward kernel: all output channels at once, so as to sample once."""
    wide = dtype == torch.float32
    if positions <= SMALL_LEVEL:
        return _tiles(32, _tile(channels, 32 if wide else 64), _tile(outputs, 64), 4, 4)
    if wide:
        return _tiles(64, _tile(channels, 32), _tile(outputs, 128), 8, 2)
    return _tiles(64, _tile(channels, 64), _tile(outputs, 256), 4, 2)


def backward_samples_tiles(dtype: torch.dtype, channels: int, outputs: int) -> dict[str, int]:
    """Tile sizes of the kernel for the gradients of input, offset and mask."""
    return _tiles(
        64, _tile(channels, 64), _tile(outputs, 32 if dtype == torch.float32 else 64), 8, 3
    )


def backward_weight_tiles(dtype: torch.dtype, channels: int, outputs: int) -> dict[str, int]:
    """Tile sizes of the kernel for the weight's gradient."""
    if dtype == torch.float32:
        return _tiles(32, _tile(channels, 64), _tile(outputs, 128), 8, 2)
    return _tiles(64, _tile(channels, 64), _tile(outputs, 256), 4, 2)


def _tiles(positions: int, channels: int, outputs: int, warps: int, stages: int) -> dict[str, int]:
    return {
        "BLOCK_P": positions,
        "BLOCK_C": channels,
        "BLOCK_O": outputs,
        "num_warps": warps,
        "num_stages": stages,
        "enable_fp_fusion": True,  # named, since Triton's default changes with its version
    }


def _splits(call: "_Call", tiles: dict[str, int]) -> int:
    """Into how many parts the weight's gradient cuts the positions."""
    programs = call.taps * _blocks(call.channels, tiles["BLOCK_C"])
    programs *= _blocks(call.outputs, tiles["BLOCK_O"])
    device, processors = call.table.device, 4
    if device.type == "cuda":
        processors = torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(2 * processors // programs, call.positions // MIN_SPAN))


def precision(dtype: torch.dtype) -> str:
    """How tensor cores may multiply float32: as TF32 only where PyTorch's setting allows it.

    Otherwise every factor is split into two TF32 parts, which keeps float32's precision.
    """
    if dtype != torch.float32:
        return "emulated" if _interpreted() else "ieee"
    matmul = torch.backends.cuda.matmul
    # Newer versions refuse to tell the older setting once the newer one was used.
    setting = getattr(matmul, "fp32_precision", None)
    allowed = matmul.allow_tf32 if setting is None else setting == "tf32"
    return "tf32" if allowed else "tf32x3"


def _tile(length: int, limit: int) -> int:
    """The power of two that covers `length`, within what a tensor core takes and the limit."""
    return min(max(16, 1 << (length - 1).bit_length()), limit)


def _blocks(length: int, block: int) -> int:
    return -(-length // block)


def _reach(planes: Tensor) -> int:
    """How far apart the first and last value of a strided tensor lie."""
    return sum((size - 1) * step for size, step in zip(planes.shape, planes.stride(), strict=True))


def _as_table(image: Tensor) -> Tensor:
    """(N, C, H, W) -> (N * H * W, C), without a copy where the image is channels_last."""
    return image.permute(0, 2, 3, 1).flatten(0, 2).contiguous()
