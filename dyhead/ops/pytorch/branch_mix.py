"""The passes of a fused block in plain PyTorch, on any device.

Maps are cut into chunks that stay in the processor's cache, so that a chain of PyTorch's operators
reads and writes memory little more than one fused loop would.

Shape letters: as in `branch_mix`; n images and r rows of a chunk.
"""

import sys
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dyhead.ops.branch_mix import ByLevel, Size
from dyhead.ops.pytorch.device_constants import device_constant

Chunk = tuple[slice, slice]  # images, rows

# Values in one chunk: on CPU 1 MB in float32; on a GPU, where every operator costs a launch, many.
CPU_CHUNK_VALUES = 2**18
GPU_CHUNK_VALUES = 2**26


class PyTorchPasses(ByLevel):
    """The operators of this module, for every device and type."""

    def __init__(self) -> None:
        super().__init__(sys.modules[__name__])

    def serves(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Tell that these passes serve always."""
        return True


def channel_moments(image: Tensor, size: Size) -> Tensor:
    """Compute `branch_mix.channel_moments` of one map."""
    batch, height, width, channels = image.shape
    dtype = _wide(image)
    mean, variance, pooled = image.new_zeros(3, batch, channels, dtype=dtype)
    weights = None if size == (height, width) else _pooling_weights(image, size)  # (h, w)
    for images, rows in _chunks(image, (height, width)):
        part = image[images, rows].to(dtype).flatten(1, 2)  # (n, positions, C)
        # Chan, Golub, LeVeque (1979): the moments so far and those of the chunk make the new ones.
        before, here = rows.start * width, part.shape[1]
        part_mean = part.mean(1)
        step = part_mean - mean[images]
        squares = (part - part_mean[:, None]).square_().sum(1)
        variance[images] += squares + step.square() * (before * here / (before + here))
        mean[images] += step * (here / (before + here))
        if weights is not None:
            pooled[images] += (part * weights[rows].reshape(-1, 1)).sum(1)
    variance /= height * width
    return torch.stack((mean, variance, mean if weights is None else pooled))


def mix_forward(
    branches: Sequence[Tensor],
    scales: Tensor,
    dyrelu: Tensor,
    size: Size,
    out: Tensor | None = None,
) -> Tensor:
    """Compute `branch_mix.mix_forward` of one level."""
    batch, *_, channels = branches[0].shape
    output = branches[0].new_empty(batch, *size, channels) if out is None else out
    for chunk, _, mixed in _walk(branches, scales, dyrelu, size):
        _, slope1, intercept1, slope2, intercept2 = _rows(dyrelu, chunk)
        first = torch.addcmul(intercept1, mixed, slope1)
        output[chunk] = torch.maximum(first, mixed.mul_(slope2).add_(intercept2))
    return output


def mix_reductions(
    grad_output: Tensor, branches: Sequence[Tensor], scales: Tensor, dyrelu: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute `branch_mix.mix_reductions` of one level."""
    grad_scales, grad_dyrelu = torch.zeros_like(scales), torch.zeros_like(dyrelu)
    for chunk, parts, mixed in _walk(branches, scales, dyrelu, _size(grad_output)):
        images, _ = chunk
        first, second = _linear_gradients(grad_output[chunk], mixed, dyrelu, chunk)
        grad_dyrelu[1, images] += (first * mixed).sum((1, 2))
        grad_dyrelu[2, images] += first.sum((1, 2))
        grad_dyrelu[3, images] += (second * mixed).sum((1, 2))
        grad_dyrelu[4, images] += second.sum((1, 2))
        grad_mixed = _mixed_gradient(first, second, dyrelu, chunk)
        for index, part in enumerate(parts):
            grad_scales[index, images] += (grad_mixed * part).sum((1, 2))
    grad_dyrelu[0] = dyrelu[1] * grad_dyrelu[2] + dyrelu[3] * grad_dyrelu[4]
    return grad_scales, grad_dyrelu


def mix_backward(
    grad_output: Tensor,
    branches: Sequence[Tensor],
    scales: Tensor,
    dyrelu: Tensor,
    moment_gradients: Tensor,
) -> list[Tensor]:
    """Compute `branch_mix.mix_backward` of one level."""
    size = _size(grad_output)
    gradients = [
        (_Gradient if _size(branch) == size else _UpsampledGradient)(
            branch, size, moment_gradients[:, index]
        )
        for index, branch in enumerate(branches)
    ]
    for chunk, parts, mixed in _walk(branches, scales, dyrelu, size):
        first, second = _linear_gradients(grad_output[chunk], mixed, dyrelu, chunk)
        grad_mixed = _mixed_gradient(first, second, dyrelu, chunk)
        for gradient, part, scale in zip(gradients, parts, _rows(scales, chunk), strict=True):
            gradient.add(grad_mixed * scale, part, chunk)
    return [gradient.finish() for gradient in gradients]


def _wide(image: Tensor) -> torch.dtype:
    """Return the type of sums over `image`: at least float32."""
    return torch.promote_types(image.dtype, torch.float32)


def _size(image: Tensor) -> Size:
    return image.shape[1], image.shape[2]


def _walk(
    branches: Sequence[Tensor], scales: Tensor, dyrelu: Tensor, size: Size
) -> Iterator[tuple[Chunk, list[Tensor], Tensor]]:
    """Cut the level: each chunk, its part of every branch, and z, all (n, r, W, C)."""
    sources = [_Source(branch, size) for branch in branches]
    for chunk in _chunks(branches[0], size):
        parts = [source.part(chunk) for source in sources]
        shift, scale = _rows(dyrelu, chunk)[0], _rows(scales, chunk)
        mixed = torch.addcmul(shift, parts[0], scale[0])
        for index in range(1, len(parts)):
            mixed.addcmul_(parts[index], scale[index])
        yield chunk, parts, mixed


def _chunks(image: Tensor, size: Size) -> Iterator[Chunk]:
    """Cut maps of `size` like `image`: several whole images, or rows of one image."""
    batch, *_, channels = image.shape
    height, width = size
    values = CPU_CHUNK_VALUES if image.device.type == "cpu" else GPU_CHUNK_VALUES
    images = max(values // (height * width * channels), 1)
    rows = height if images > 1 else min(max(values // (width * channels), 1), height)
    for start in range(0, batch, images):
        for row in range(0, height, rows):
            yield slice(start, start + images), slice(row, row + rows)


def _rows(coefficients: Tensor, chunk: Chunk) -> Tensor:
    """(K, N, C) -> (K, n, 1, 1, C), for the images of a chunk."""
    return coefficients[:, chunk[0], None, None]


def _linear_gradients(
    grad_output: Tensor, mixed: Tensor, dyrelu: Tensor, chunk: Chunk
) -> tuple[Tensor, Tensor]:
    """Share the gradient among DyReLU's two linear functions: half each where they are equal."""
    _, slope1, intercept1, slope2, intercept2 = _rows(dyrelu, chunk)
    difference = torch.addcmul(intercept1, mixed, slope1)
    difference -= torch.addcmul(intercept2, mixed, slope2)
    first = difference.sign_().add_(1).mul_(0.5).mul_(grad_output)
    return first, grad_output - first


def _mixed_gradient(first: Tensor, second: Tensor, dyrelu: Tensor, chunk: Chunk) -> Tensor:
    """Compute the gradient of z, in the memory of `first`."""
    _, slope1, _, slope2, _ = _rows(dyrelu, chunk)
    return first.mul_(slope1).addcmul_(second, slope2)


class _Source:
    """A branch as the level sees it, chunk by chunk."""

    def __init__(self, branch: Tensor, size: Size) -> None:
        self.branch = branch
        self.dtype = _wide(branch)
        self.same_size = _size(branch) == size
        if not self.same_size:
            self.rows = _neighbours(branch.shape[1], size[0], branch)
            left, right, share = _neighbours(branch.shape[2], size[1], branch)
            image = branch.to(self.dtype)
            self.widened = torch.lerp(image[:, :, left], image[:, :, right], share[:, None])

    def part(self, chunk: Chunk) -> Tensor:
        """(n, r, W, C)."""
        if self.same_size:
            return self.branch[chunk].to(self.dtype)
        images, rows = chunk
        above, below, share = (values[rows] for values in self.rows)
        image = self.widened[images]
        return torch.lerp(image[:, above], image[:, below], share[:, None, None])


class _Gradient:
    """The gradient of a branch of the level's size, chunk by chunk."""

    def __init__(self, branch: Tensor, size: Size, moment_gradients: Tensor) -> None:
        pooled, constant, slope = moment_gradients
        self.coefficients = torch.stack((pooled + constant, slope))
        self.gradient = torch.empty_like(branch)

    def add(self, grad: Tensor, part: Tensor, chunk: Chunk) -> None:
        """Take the gradient (n, r, W, C) through the mix, and what was mixed."""
        constant, slope = _rows(self.coefficients, chunk)
        self.gradient[chunk] = grad.add_(constant).addcmul_(part, slope)

    def finish(self) -> Tensor:
        """(N, H, W, C)."""
        return self.gradient


class _UpsampledGradient:
    """The gradient of a smaller branch: `_Source` transposed."""

    def __init__(self, branch: Tensor, size: Size, moment_gradients: Tensor) -> None:
        self.branch, self.moment_gradients = branch, moment_gradients
        batch, height, width, channels = branch.shape
        self.rows = _neighbours(height, size[0], branch)
        self.columns = _neighbours(width, size[1], branch)
        self.widened = moment_gradients.new_zeros(batch, height, size[1], channels)

    def add(self, grad: Tensor, part: Tensor, chunk: Chunk) -> None:
        """Take the gradient (n, r, W, C) through the mix."""
        images, rows = chunk
        pooled = _rows(self.moment_gradients, chunk)[0]
        _collect(self.widened[images], 1, grad.add_(pooled), [values[rows] for values in self.rows])

    def finish(self) -> Tensor:
        """(N, h, w, C)."""
        _, constant, slope = self.moment_gradients[:, :, None, None]
        gradient = torch.addcmul(constant, self.branch, slope)
        _collect(gradient, 2, self.widened, self.columns)
        return gradient.to(self.branch.dtype)


def _collect(total: Tensor, dim: int, grad: Tensor, neighbours: Sequence[Tensor]) -> None:
    """Add to `total` what its positions along `dim` gave to their interpolations."""
    low, high, share = neighbours
    share = share.view([-1 if axis == dim else 1 for axis in range(4)])
    total.index_add_(dim, low, grad * (1 - share))
    total.index_add_(dim, high, grad * share)


def _neighbours(length: int, target: int, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Place `target` positions on `length` ones, first on first and last on last.

    Returns:
        The positions before and after, and the share of the latter: each (target,).
    """
    low, high = device_constant(_aligned_positions, (length, target), image, torch.int64)
    return low, high, device_constant(_aligned_shares, (length, target), image, _wide(image))


def _pooling_weights(image: Tensor, size: Size) -> Tensor:
    """Weigh each position as it counts in the mean after upsampling: (h, w), with a sum of 1."""
    rows, columns = (
        device_constant(_pooling_shares, (length, target), image, _wide(image))
        for length, target in zip(_size(image), size, strict=True)
    )
    return rows[:, None] * columns


def _aligned_positions(length: int, target: int) -> tuple[list[int], list[int]]:
    # Integers, since rounding must not carry the last position beyond the end.
    low = [at * (length - 1) // max(target - 1, 1) for at in range(target)]
    return low, [min(position + 1, length - 1) for position in low]


def _aligned_shares(length: int, target: int) -> list[float]:
    steps = max(target - 1, 1)
    return [at * (length - 1) % steps / steps for at in range(target)]


def _pooling_shares(length: int, target: int) -> list[float]:
    shares = [0.0] * length
    for before, after, share in zip(
        *_aligned_positions(length, target), _aligned_shares(length, target), strict=True
    ):
        shares[before] += (1 - share) / target
        shares[after] += share / target
    return shares
