"""Batches of elements that belong together."""

from collections.abc import Iterator, Sequence

from torch.utils.data import BatchSampler, Sampler


class GroupedBatchSampler(BatchSampler):
    """Batches of a sampler's indices, each of one group, as near to its order as that allows.

    Args:
        sampler: gives indices from 0 to N - 1.
        group_ids: the group of each of the N elements.
        batch_size: number of indices in a batch.

    Raises:
        ValueError: `sampler` is no torch sampler.
    """

    def __init__(self, sampler: Sampler, group_ids: Sequence[int], batch_size: int) -> None:
        if not isinstance(sampler, Sampler):
            raise ValueError(f"sampler must be a torch Sampler, got {sampler!r}.")
        self.sampler, self.group_ids, self.batch_size = sampler, group_ids, batch_size
        self._unfinished: dict[int, list[int]] = {}

    def __iter__(self) -> Iterator[list[int]]:
        for index in self.sampler:
            batch = self._unfinished.setdefault(int(self.group_ids[index]), [])
            batch.append(index)
            if len(batch) == self.batch_size:
                yield self._unfinished.pop(int(self.group_ids[index]))

    def __len__(self) -> int:
        raise TypeError("The number of batches depends on the order of the groups.")
