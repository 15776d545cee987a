"""Samplers that share one stream of indices between processes.

All training samplers draw one endless stream from a seed that every process knows; the process of
rank r takes every world_size-th index from position r on. One step of all processes together
therefore covers the same images as one step of a single process with the total batch.
"""

import itertools
import logging
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler

from ...utils import comm

logger = logging.getLogger("detectron2.data.samplers.distributed_sampler")


def _shared_seed(seed: int | None) -> int:
    return comm.shared_random_seed() if seed is None else int(seed)


class _EndlessSampler(Sampler[int], ABC):
    """An endless stream of epochs; subclasses say which indices an epoch holds."""

    def __init__(self, shuffle: bool, seed: int | None) -> None:
        self._shuffle = shuffle
        self._seed = _shared_seed(seed)
        # Read here, not in __iter__: that runs inside loader workers, which have no process group.
        self._rank = comm.get_rank()
        self._world_size = comm.get_world_size()

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self._infinite_indices(), self._rank, None, self._world_size)

    def _infinite_indices(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self._seed)
        while True:
            indices = self._epoch_indices(generator)
            if self._shuffle:
                indices = indices[torch.randperm(len(indices), generator=generator)]
            yield from indices.tolist()

    @abstractmethod
    def _epoch_indices(self, generator: torch.Generator) -> torch.Tensor:
        """The indices of the next epoch, before shuffling."""


class TrainingSampler(_EndlessSampler):
    """Endless shuffled passes over a dataset.

    Args:
        size: number of samples in the dataset.
        shuffle: False gives 0..size-1 again and again.
        seed: seed of the shuffles, the same in every process; None agrees on a random one.

    Raises:
        TypeError: `size` is no int.
        ValueError: `size` is not positive.
    """

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None) -> None:
        if not isinstance(size, int):
            raise TypeError(f"A sampler's size must be an int, got {type(size).__name__}.")
        if size <= 0:
            raise ValueError(
                f"A sampler's size must be positive, got {size}: is the dataset empty?"
            )
        self._size = size
        super().__init__(shuffle, seed)

    def _epoch_indices(self, generator: torch.Generator) -> torch.Tensor:
        return torch.arange(self._size)


class RandomSubsetTrainingSampler(TrainingSampler):
    """Endless passes over one random subset of a dataset.

    Args:
        size: number of samples in the dataset.
        subset_ratio: the part of the dataset to keep, in (0, 1].
        shuffle: whether each pass is shuffled anew.
        seed_shuffle: seed of the shuffles; None agrees on a random one.
        seed_subset: seed of the choice of the subset; None agrees on a random one.
    """

    def __init__(
        self,
        size: int,
        subset_ratio: float,
        shuffle: bool = True,
        seed_shuffle: int | None = None,
        seed_subset: int | None = None,
    ) -> None:
        super().__init__(size=size, shuffle=shuffle, seed=seed_shuffle)
        assert 0.0 < subset_ratio <= 1.0, f"subset_ratio must be in (0, 1], got {subset_ratio}."
        subset_size = int(size * subset_ratio)
        assert subset_size > 0, f"subset_ratio {subset_ratio} of {size} samples leaves none."
        generator = torch.Generator()
        generator.manual_seed(_shared_seed(seed_subset))
        self._subset = torch.randperm(size, generator=generator)[:subset_size]
        logger.info(f"Sampling from a random subset of {subset_size} of {size} images.")

    def _epoch_indices(self, generator: torch.Generator) -> torch.Tensor:
        return self._subset


class RepeatFactorTrainingSampler(_EndlessSampler):
    """Endless passes in which a sample appears as often as its repeat factor says, on average.

    A factor of 1.4 means once in every pass, and twice in 40% of them. See LVIS (arXiv:1908.03195),
    appendix B.2.

    Args:
        repeat_factors: one float per sample of the dataset.
        shuffle: whether each pass is shuffled.
        seed: seed of shuffles and rounding, the same in every process; None agrees on one.
    """

    def __init__(
        self, repeat_factors: torch.Tensor, *, shuffle: bool = True, seed: int | None = None
    ) -> None:
        super().__init__(shuffle, seed)
        self._whole = torch.trunc(repeat_factors)
        self._fraction = repeat_factors - self._whole

    @staticmethod
    def repeat_factors_from_category_frequency(
        dataset_dicts: list[dict[str, Any]], repeat_thresh: float, sqrt: bool = True
    ) -> torch.Tensor:
        """The repeat factor of each image: that of its rarest category.

        A category in a fraction f of all images has the factor max(1, (repeat_thresh / f) ** p),
        p = 0.5, or 1 without `sqrt`; an image without annotations has the factor 1.
        """
        categories = [
            {annotation["category_id"] for annotation in image["annotations"]}
            for image in dataset_dicts
        ]
        images_with = Counter(itertools.chain.from_iterable(categories))
        factors = {}
        for category, count in sorted(images_with.items()):
            ratio = repeat_thresh * len(dataset_dicts) / count
            factors[category] = max(1.0, math.sqrt(ratio) if sqrt else ratio)
            logger.info(f"Category {category}: in {count} images, repeat {factors[category]:.2f}.")
        return torch.tensor(
            [max((factors[c] for c in present), default=1.0) for present in categories]
        )

    def _epoch_indices(self, generator: torch.Generator) -> torch.Tensor:
        rounded_up = torch.rand(len(self._fraction), generator=generator) < self._fraction
        repeats = (self._whole + rounded_up).long()
        return torch.repeat_interleave(torch.arange(len(repeats)), repeats)


class InferenceSampler(Sampler[int]):
    """Every sample exactly once: each process takes one contiguous part.

    Parts differ by one sample at most. `size` is the number of samples in the dataset.
    """

    def __init__(self, size: int) -> None:
        assert size > 0, f"A sampler's size must be positive, got {size}: is the dataset empty?"
        self._local_indices = self._get_local_indices(size, comm.get_world_size(), comm.get_rank())

    @staticmethod
    def _get_local_indices(total_size: int, world_size: int, rank: int) -> range:
        share, extra = divmod(total_size, world_size)
        begin = rank * share + min(rank, extra)
        return range(begin, begin + share + (rank < extra))

    def __iter__(self) -> Iterator[int]:
        return iter(self._local_indices)

    def __len__(self) -> int:
        return len(self._local_indices)
