"""A training sampler that draws from several data sets in fixed proportion."""

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import torch
from torch.utils.data import Sampler

from dyhead.d2.utils import comm

_LONGEST_BLOCK = 64


class RatioTrainingSampler(Sampler[int]):
    """An endless sampler of a concatenation of data sets that gives each set its share.

    Each set is passed through in an order of its own that is shuffled anew for every pass, so that
    none of its images comes again before all have come. The shares are exact: the draws are made in
    blocks as short as whole shares allow, (1, 2) in blocks of three, in random order. Where that
    takes more than 64 draws, a block has 64 and each set is within a few draws of its share.

    All processes draw the same stream, as Detectron2's TrainingSampler does, and the process of
    rank r takes every world_size-th index of it from the r-th on.
    """

    def __init__(
        self, sizes: Sequence[int], ratios: Sequence[float], seed: int | None = None
    ) -> None:
        """Choose the data sets and their shares.

        Args:
            sizes: number of images of each set.
            ratios: as many positive numbers; only their proportion counts.
            seed: the same in every process; None agrees on a random one.

        Raises:
            ValueError: a size or a ratio is not positive, or there is not one ratio per set.
        """
        if len(sizes) != len(ratios) or not sizes:
            raise ValueError(f"{len(sizes)} data sets need as many ratios, got {list(ratios)}.")
        if min(sizes) < 1:
            raise ValueError(f"Data sets of sizes {list(sizes)}: none may be empty.")
        self._sizes = tuple(sizes)
        self._weights = whole_shares(ratios)
        self._seed = comm.shared_random_seed() if seed is None else int(seed)
        # Read here, not in __iter__: that runs inside loader workers, which have no process group.
        self._rank = comm.get_rank()
        self._world_size = comm.get_world_size()

    def __iter__(self) -> Iterator[int]:
        """Yield this process's part of the stream, without end."""
        return itertools.islice(self._stream(), self._rank, None, self._world_size)

    def _stream(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self._seed)
        starts = itertools.accumulate(self._sizes, initial=0)
        passes = [
            _endless_passes(start, size, generator)
            for start, size in zip(starts, self._sizes, strict=False)
        ]
        turns = _take_turns(self._weights)
        block_size = min(sum(self._weights), _LONGEST_BLOCK)
        while True:
            # Shuffled, or with two processes and shares of (1, 1) each would see one set only.
            block = list(itertools.islice(turns, block_size))
            for position in torch.randperm(block_size, generator=generator).tolist():
                yield next(passes[block[position]])


def whole_shares(ratios: Sequence[float]) -> tuple[int, ...]:
    """Return the smallest whole numbers in the proportion of `ratios`; 0.3 is read as 3/10.

    Raises:
        ValueError: a ratio is not positive and finite.
    """
    if not all(math.isfinite(ratio) and ratio > 0 for ratio in ratios):
        raise ValueError(f"The ratios {list(ratios)} are not all positive numbers.")
    fractions = [Fraction(str(ratio)) for ratio in ratios]
    denominator = math.lcm(*(fraction.denominator for fraction in fractions))
    whole = [int(fraction * denominator) for fraction in fractions]
    divisor = math.gcd(*whole)
    return tuple(number // divisor for number in whole)


def _take_turns(weights: Sequence[int]) -> Iterator[int]:
    """Yield indices of sets, evenly spread: `weights` of each in every sum(weights) draws."""
    # Smooth weighted round robin: the set that is furthest behind its share is drawn next.
    owed = [0] * len(weights)
    while True:
        owed = [debt + weight for debt, weight in zip(owed, weights, strict=True)]
        chosen = max(range(len(owed)), key=owed.__getitem__)
        owed[chosen] -= sum(weights)
        yield chosen


def _endless_passes(start: int, size: int, generator: torch.Generator) -> Iterator[int]:
    """Yield `start` ... `start + size - 1` again and again, shuffled anew each time."""
    while True:
        yield from (start + torch.randperm(size, generator=generator)).tolist()
