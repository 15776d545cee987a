"""The passes of a fused DyHead block over whole maps: per-channel moments, and the mix of branches.

Between these passes everything is per image and channel, and small: `layers.fused_attention`. Every
pass reads its maps once and keeps nothing of their size besides its result. Per level,

    z = sum_b scale_b * up_b(y_b) + shift
    output = max(slope1 * z + intercept1, slope2 * z + intercept2)

Shape letters: L levels, B branches, N images, C channels, H x W a level's grid, h x w a map's own
grid. `up_b` is bilinear interpolation with aligned corners from h x w to H x W, and nothing where
both are the same. Maps y_b are (N, h, w, C), contiguous, each of its level's size or smaller, all
of one data type: float32, float64, bfloat16 or float16. They come as L lists of B; a map that a
level does not have is None, at the beginning or at the end of its list. Coefficients, moments and
sums are float32, float64 for float64 maps; they are contiguous, and all arithmetic is done in their
type. Nothing here is recorded by autograd.

Coefficients:
    scales: (L, B, N, C); what belongs to a missing map is not read.
    dyrelu: (L, 5, N, C): shift, slope1, intercept1, slope2, intercept2.

The functions of this module choose among the registered passes: plain PyTorch everywhere, C++ on a
CPU where the extension is there, both level by level; Triton on CUDA where its self-check succeeds,
for all levels at once.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

Size = tuple[int, int]
Maps = Sequence[Sequence[Tensor | None]]


class Passes(Protocol):
    """One implementation of the four passes, which have the arguments of this module's functions.

    Others inherit from it; a class without one of the methods cannot be instantiated. Passes have a
    register of their own beside that of deformable convolutions: the first ones that serve a device
    are taken, and MODEL.DEFORM_CONV_BACKEND, which names a back end of those, does not govern them.

    Attributes:
        device_type: the only type of devices that they serve; "" for every type.
    """

    device_type: str = ""

    @abstractmethod
    def serves(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Tell if the passes are chosen for maps of a type on a device of their type."""
        ...

    @abstractmethod
    def channel_moments(self, maps: Maps, sizes: Sequence[Size]) -> Tensor:
        """Measure every channel."""
        ...

    @abstractmethod
    def mix_forward(
        self,
        maps: Maps,
        scales: Tensor,
        dyrelu: Tensor,
        sizes: Sequence[Size],
        overwrite: bool = False,
    ) -> list[Tensor]:
        """Compute the outputs."""
        ...

    @abstractmethod
    def mix_reductions(
        self, grads: Sequence[Tensor], maps: Maps, scales: Tensor, dyrelu: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the gradients of the coefficients."""
        ...

    @abstractmethod
    def mix_backward(
        self,
        grads: Sequence[Tensor],
        maps: Maps,
        scales: Tensor,
        dyrelu: Tensor,
        moment_gradients: Tensor,
    ) -> list[list[Tensor | None]]:
        """Compute the gradients of the maps."""
        ...


_registered: list[Passes] = []


def register_passes(passes: Passes) -> None:
    """Add passes, which from then on are chosen where they serve before those that are there."""
    _registered.insert(0, passes)


def passes_for(images: Sequence[Tensor]) -> Passes:
    """Choose the passes for maps and gradients of one type and device."""
    device, dtype = images[0].device, images[0].dtype
    if any(type(image) is not Tensor for image in images):
        # Tensors without data, as in tracing, are of a subclass: only PyTorch's operators know it.
        return _registered[-1]
    fitting = (passes for passes in _registered if passes.device_type in ("", device.type))
    return next(passes for passes in fitting if passes.serves(device, dtype))


def channel_moments(maps: Maps, sizes: Sequence[Size]) -> Tensor:
    """Measure every channel of every image of every map.

    Args:
        maps: L lists of B.
        sizes: H, W of every level, to which smaller maps will be upsampled.

    Returns:
        (L, B, 3, N, C): mean, variance (the mean squared distance from the mean, accurate also
        where the mean is much larger than the deviation), and mean after upsampling, which weights
        the positions unevenly; zeros where there is no map.
    """
    return passes_for(_present(maps)).channel_moments(maps, sizes)


def mix_forward(
    maps: Maps,
    scales: Tensor,
    dyrelu: Tensor,
    sizes: Sequence[Size],
    overwrite: bool = False,
) -> list[Tensor]:
    """Compute the outputs.

    Args:
        maps: L lists of B.
        scales, dyrelu: the coefficients.
        sizes: H, W of every level.
        overwrite: outputs may take the place of maps, which are then lost; that saves memory.

    Returns:
        (N, H, W, C) of every level, of the maps' type, contiguous.
    """
    return passes_for(_present(maps)).mix_forward(maps, scales, dyrelu, sizes, overwrite)


def mix_reductions(
    grads: Sequence[Tensor], maps: Maps, scales: Tensor, dyrelu: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of the coefficients: sums over positions.

    With g the gradient of the output, g1 = g where the first linear function of DyReLU is larger,
    g / 2 where both are equal, 0 elsewhere; g2 = g - g1; and dz = slope1 * g1 + slope2 * g2:
        scale_b: sum of dz * up_b(y_b); shift: sum of dz;
        slope1: sum of g1 * z; intercept1: sum of g1; slope2 and intercept2 likewise with g2.

    Args:
        grads: of the outputs, (N, H, W, C) of the maps' type, contiguous.
        maps, scales, dyrelu: as for `mix_forward`.

    Returns:
        The gradients of scales (L, B, N, C), zero where there is no map, and of dyrelu
        (L, 5, N, C).
    """
    chosen = passes_for((*grads, *_present(maps)))
    return chosen.mix_reductions(grads, maps, scales, dyrelu)


def mix_backward(
    grads: Sequence[Tensor], maps: Maps, scales: Tensor, dyrelu: Tensor, moment_gradients: Tensor
) -> list[list[Tensor | None]]:
    """Compute the gradients of the maps, those through their moments included.

    With dz as in `mix_reductions`, and up_b^T the transpose of the upsampling:
        gradient of y_b = up_b^T(scale_b * dz + pooled_b) + constant_b + slope_b * y_b.

    Args:
        grads, maps, scales, dyrelu: as for `mix_reductions`.
        moment_gradients: (3, L, B, N, C): pooled, constant, slope: what one position gets from the
            gradients of the three moments.

    Returns:
        L lists of B, each gradient of its map's shape and type, contiguous; None for None.
    """
    chosen = passes_for((*grads, *_present(maps)))
    return chosen.mix_backward(grads, maps, scales, dyrelu, moment_gradients)


def _present(maps: Maps) -> list[Tensor]:
    return [image for level in maps for image in level if image is not None]


class ByLevel(Passes):
    """The passes level by level, from operators over one level or one map.

    With B the maps that the level has, and all of them contiguous, the operators are
        channel_moments(image, size): (N, h, w, C) to (3, N, C);
        mix_forward(branches, scales, dyrelu, size, out): B maps, scales (B, N, C) and coefficients
            (5, N, C) to (N, H, W, C), written to `out` unless that is None: a map of the level's
            size, which is then lost;
        mix_reductions(grad_output, branches, scales, dyrelu): the gradients of both;
        mix_backward(grad_output, branches, scales, dyrelu, moment_gradients): B gradients; those
            of the moments are (3, B, N, C).
    """

    def __init__(self, operators: Any) -> None:
        """Take an object or a module that has the operators."""
        self.operators = operators

    def channel_moments(self, maps: Maps, sizes: Sequence[Size]) -> Tensor:
        """Compute `channel_moments` level by level."""
        return stack_levels(
            [
                [
                    image if image is None else self.operators.channel_moments(image, size)
                    for image in level
                ]
                for level, size in zip(maps, sizes, strict=True)
            ]
        )

    def mix_forward(
        self,
        maps: Maps,
        scales: Tensor,
        dyrelu: Tensor,
        sizes: Sequence[Size],
        overwrite: bool = False,
    ) -> list[Tensor]:
        """Compute `mix_forward` level by level."""
        outputs = []
        for index, (level, size) in enumerate(zip(maps, sizes, strict=True)):
            present, branches = _branches(level)
            # A map of the level's size has just the memory that the output needs.
            at_size = (image for image in branches if tuple(image.shape[1:3]) == size)
            out = next(at_size, None) if overwrite else None
            outputs.append(
                self.operators.mix_forward(
                    branches, scales[index, present], dyrelu[index], size, out
                )
            )
        return outputs

    def mix_reductions(
        self, grads: Sequence[Tensor], maps: Maps, scales: Tensor, dyrelu: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute `mix_reductions` level by level."""
        grad_scales, grad_dyrelu = torch.zeros_like(scales), torch.empty_like(dyrelu)
        for index, (grad, level) in enumerate(zip(grads, maps, strict=True)):
            present, branches = _branches(level)
            found = self.operators.mix_reductions(
                grad, branches, scales[index, present], dyrelu[index]
            )
            grad_scales[index, present], grad_dyrelu[index] = found
        return grad_scales, grad_dyrelu

    def mix_backward(
        self,
        grads: Sequence[Tensor],
        maps: Maps,
        scales: Tensor,
        dyrelu: Tensor,
        moment_gradients: Tensor,
    ) -> list[list[Tensor | None]]:
        """Compute `mix_backward` level by level."""
        gradients = []
        for index, (grad, level) in enumerate(zip(grads, maps, strict=True)):
            present, branches = _branches(level)
            found = iter(
                self.operators.mix_backward(
                    grad,
                    branches,
                    scales[index, present],
                    dyrelu[index],
                    moment_gradients[:, index, present].contiguous(),
                )
            )
            gradients.append([image if image is None else next(found) for image in level])
        return gradients


def _branches(level: Sequence[Tensor | None]) -> tuple[slice, list[Tensor]]:
    """Return the slice of the maps that a level has, and these: none is missing between them."""
    branches = [image for image in level if image is not None]
    first = next(index for index, image in enumerate(level) if image is not None)
    return slice(first, first + len(branches)), branches


def stack_levels(rows: Sequence[Sequence[Tensor | None]]) -> Tensor:
    """Stack L lists of B tensors (...) to (L, B, ...), zeros where one is None."""
    zeros = torch.zeros_like(next(value for value in rows[0] if value is not None))
    values = [zeros if value is None else value for row in rows for value in row]
    return torch.stack(values).unflatten(0, (len(rows), -1))
