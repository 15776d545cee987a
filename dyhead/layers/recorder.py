"""Records what the attentions of blocks compute, from the forward pass that computes it.

An attention has the attribute `record`, None by default, and adds to it what it has just computed
and is about to use, in the plain and in the fused form alike. Nothing is computed for it.

Shape letters: N images; C channels; H x W a level's size.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from dyhead.layers.block import DyHeadBlock
from dyhead.ops.recording import is_recorded

Size = tuple[int, int]


@dataclass
class BlockRecord:
    """The computations of one block in one forward pass, level by level, finest first.

    A list stays empty where the block has no such attention, where a class of one's own takes its
    place, and where a compiler, an exporter or a tracer records the pass.

    Attributes:
        coarser_offsets: the block's option, by which a level's offsets are read for the coarser
            one; "" where its spatial attention is one of one's own.
        scale_first: the scale attention weights levels before the convolutions.
        residual: the block adds each level to what its attentions give.
        sizes: H, W.
        offsets: (N, 18, H, W), interleaved (dy, dx) in pixels of the level that is sampled.
        masks: (N, 9, H, W), in (0, 1).
        shares: what the scale attention multiplies the finer, the same and the coarser branch by,
            as far as there are such: (N, B), its weights divided by B. With `scale_first` (N, 1),
            the level's own weight.
        dyrelu: (4, N, C): slope 1, intercept 1, slope 2 and intercept 2 of every channel.
        thread: whose passes are recorded; those of others through the same blocks are not.
    """

    coarser_offsets: str = ""
    scale_first: bool = False
    residual: bool = False
    sizes: list[Size] = field(default_factory=list)
    offsets: list[Tensor] = field(default_factory=list)
    masks: list[Tensor] = field(default_factory=list)
    shares: list[Tensor] = field(default_factory=list)
    dyrelu: list[Tensor] = field(default_factory=list)
    thread: int = field(default_factory=threading.get_ident, repr=False)

    def add_level(self, level: Tensor, offset_and_mask: tuple[Tensor, Tensor] | None) -> None:
        """Add a level's size, and its offsets and masks unless they are fixed."""
        if self._passes_over(level):
            return
        self.sizes.append((level.shape[2], level.shape[3]))
        if offset_and_mask is not None:
            self.offsets.append(offset_and_mask[0])
            self.masks.append(offset_and_mask[1])

    def add_shares(self, shares: Tensor) -> None:
        """Add a level's (N, B)."""
        if not self._passes_over(shares):
            self.shares.append(shares)

    def add_dyrelu(self, coefficients: Tensor) -> None:
        """Add a level's (4, N, C)."""
        if not self._passes_over(coefficients):
            self.dyrelu.append(coefficients)

    def _passes_over(self, tensor: Tensor) -> bool:
        return is_recorded(tensor) or threading.get_ident() != self.thread


@contextmanager
def record_attentions(model: nn.Module) -> Iterator[list[BlockRecord]]:
    """Record the one forward pass that the model has within the context, block by block.

    The outputs are the same, bit for bit. A compiled, exported or traced pass records nothing.
    Other threads may use the model meanwhile, but not record it.

    Args:
        model: has a `DyHeadBlock` or several anywhere inside.

    Yields:
        a record per block, in the order of `model.modules()`, filled by the pass.
    """
    blocks = [module for module in model.modules() if isinstance(module, DyHeadBlock)]
    records = [
        BlockRecord(
            getattr(block.spatial_attention, "coarser_offsets", ""),
            block.scale_first,
            block.residual,
        )
        for block in blocks
    ]
    recording = [
        (attention, record)
        for block, record in zip(blocks, records, strict=True)
        for attention in _recordable(block)
    ]
    for attention, record in recording:
        attention.record = record  # type: ignore[assignment]
    try:
        yield records
    finally:
        for attention, _ in recording:
            del attention.record


def _recordable(block: DyHeadBlock) -> Sequence[nn.Module]:
    """List the block's attentions that know the attribute; others of one's own may not."""
    attentions = block.spatial_attention, block.scale_attention, block.task_attention
    return [each for each in attentions if each is not None and hasattr(type(each), "record")]
