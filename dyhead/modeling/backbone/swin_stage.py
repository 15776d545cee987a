"""One stage of a Swin Transformer: attention in windows, every other time in shifted ones.

Liu et al., ICCV 2021 (arXiv:2103.14030), section 3. Shapes: N images, H x W tokens, C channels.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp
from timm.models.swin_transformer import PatchMerging, WindowAttention
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dyhead.ops.recording import is_exported

# Released weights were trained with this number between tokens that are no neighbours, not with
# minus infinity.
_NOT_NEIGHBOURS = -100.0


class SwinBlock(nn.Module):
    """Window attention and an MLP, each after a LayerNorm and beside a shortcut.

    Unlike timm's block, tokens are padded to whole windows before they are shifted, and windows
    never shrink to a small map: released detectors were trained so.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        window_size: int,
        shift: int,
        mlp_ratio: float,
        drop_path: float,
    ) -> None:
        """Make the block.

        Args:
            channels: C.
            num_heads: attention heads, a divisor of `channels`.
            window_size: side of the windows, in tokens.
            shift: how far the windows are moved down and right, in tokens; 0 for not at all.
            mlp_ratio: hidden channels of the MLP over C.
            drop_path: chance that a shortcut stands alone, per image, in training.
        """
        super().__init__()
        self.window_size = window_size
        self.shift = shift
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, num_heads=num_heads, window_size=window_size)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, hidden_features=int(channels * mlp_ratio))

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Map (N, H, W, C) to the same shape.

        Args:
            tokens: (N, H, W, C).
            mask: `shifted_windows_mask` of the tokens if the windows are shifted, otherwise unused.
        """
        tokens = tokens + self.drop_path(self._attend(self.norm1(tokens), mask))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))

    def _attend(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        height, width = tokens.shape[1:3]
        padded = _pad(tokens, self.window_size)
        if not self.shift:
            return _crop(self._attend_in_windows(padded, None), height, width)
        shifted = padded.roll((-self.shift, -self.shift), dims=(1, 2))
        attended = self._attend_in_windows(shifted, mask)
        back = attended.roll((self.shift, self.shift), dims=(1, 2))
        return _crop(back, height, width)

    def _attend_in_windows(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        windows = self.attn(_partition(tokens, self.window_size), mask)
        return _reverse(windows, self.window_size, tokens.shape[1], tokens.shape[2])


class SwinStage(nn.Module):
    """Blocks of one resolution, and the merging of 2 x 2 tokens into one after them."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        window_size: int,
        mlp_ratio: float,
        drop_paths: Sequence[float],
        downsample: bool,
        use_checkpoint: bool = False,
    ) -> None:
        """Make the stage.

        Args:
            channels: C.
            num_heads: see `SwinBlock`, as `window_size` and `mlp_ratio`.
            window_size: every second block's windows are shifted by half of it.
            mlp_ratio: of every block.
            drop_paths: `SwinBlock`'s drop_path for each block, as many as there are blocks.
            downsample: have a `downsample`, from (N, H, W, C) to (N, H / 2, W / 2, 2 C), rounded
                up; `forward` leaves it to the caller.
            use_checkpoint: keep no activations inside the blocks for the backward pass.
        """
        super().__init__()
        self.window_size = window_size
        self.use_checkpoint = use_checkpoint
        shifts = (0, window_size // 2)
        self.blocks = nn.ModuleList(
            SwinBlock(channels, num_heads, window_size, shifts[index % 2], mlp_ratio, drop_path)
            for index, drop_path in enumerate(drop_paths)
        )
        self.downsample = PatchMerging(channels) if downsample else None

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        mask = shifted_windows_mask(tokens, self.window_size)
        for block in self.blocks:
            if self.use_checkpoint and torch.is_grad_enabled():
                tokens = cast(Tensor, checkpoint(block, tokens, mask, use_reentrant=False))
            else:
                tokens = block(tokens, mask)
        return tokens


def shifted_windows_mask(tokens: Tensor, window_size: int) -> Tensor:
    """Build what is added to attention scores in windows shifted by half their size.

    Shifting is cyclic: windows at the lower and right border hold tokens that are no neighbours,
    and these must not attend to each other.

    Args:
        tokens: (N, H, W, C); its size, dtype and device count.
        window_size: M, in tokens.

    Returns:
        (windows, M * M, M * M): 0 between neighbours, otherwise -100.
    """
    rows, columns = (
        _parts(_whole_windows(length, window_size), window_size, tokens.device)
        for length in tokens.shape[1:3]
    )
    parts = (3 * rows[:, None] + columns)[None, :, :, None]
    windows = _partition(parts, window_size).squeeze(2)
    apart = windows[:, :, None] != windows[:, None, :]
    return tokens.new_zeros(apart.shape).masked_fill(apart, _NOT_NEIGHBOURS)


def _parts(length: int, window_size: int, device: torch.device) -> Tensor:
    """Number the part that each of `length` shifted rows or columns belongs to.

    0: before the last window, 1: in it and in place, 2: in it and come round from the other end.
    """
    positions = torch.arange(length, device=device)
    come_round = positions >= length - window_size // 2
    return (positions >= length - window_size).long() + come_round


def _partition(tokens: Tensor, window_size: int) -> Tensor:
    """Split (N, H, W, C) into (N * windows, M * M, C), for whole windows.

    Like timm's, but for the copy: torch.export cannot tell when `contiguous` makes one.
    """
    pieces = tokens.unflatten(2, (-1, window_size)).unflatten(1, (-1, window_size))
    windows = pieces.transpose(2, 3).clone(memory_format=torch.contiguous_format)
    return windows.flatten(3, 4).flatten(0, 2)


def _reverse(windows: Tensor, window_size: int, height: int, width: int) -> Tensor:
    """Undo `_partition`: (N * windows, M * M, C) to (N, H, W, C)."""
    grid = (-1, height // window_size, width // window_size)
    pieces = windows.unflatten(1, (window_size, window_size)).unflatten(0, grid)
    tokens = pieces.transpose(2, 3).clone(memory_format=torch.contiguous_format)
    return tokens.flatten(3, 4).flatten(1, 2)


def _pad(tokens: Tensor, window_size: int) -> Tensor:
    """Pad with zeros at the lower and right border, up to whole windows."""
    height, width = tokens.shape[1:3]
    below = _whole_windows(height, window_size) - height
    right = _whole_windows(width, window_size) - width
    return F.pad(tokens, (0, 0, 0, right, 0, below))


def _crop(tokens: Tensor, height: int, width: int) -> Tensor:
    if is_exported():  # which cannot prove that the result of a slice has this size
        rows, columns = (torch.arange(length, device=tokens.device) for length in (height, width))
        return tokens.index_select(1, rows).index_select(2, columns)
    return tokens[:, :height, :width]


def _whole_windows(length: int, window_size: int) -> int:
    # Of positive numbers alone: ONNX divides negative ones otherwise.
    return (length + window_size - 1) // window_size * window_size
