"""The places of a training's images in its stream, in the order in which batches take them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Sampler

from dyhead.d2.utils import comm
from dyhead.data.loader_workers import outlive_signals


class Place(NamedTuple):
    """A position in the stream, and what stands there.

    Attributes:
        position: in the stream of all processes.
        image: the data set's index of the image.
        batch: number of the batch; batches of one step have one number in all processes.
    """

    position: int
    image: int
    batch: int = 0


class Unseen(NamedTuple):
    """The positions that are still to come: those of `pending`, and all from `next` on."""

    next: int = 0
    pending: tuple[int, ...] = ()

    @property
    def num_seen(self) -> int:
        """The number of positions that have been seen, where these are those of all processes."""
        return self.next - len(self.pending)


class StreamSampler(Sampler[Place]):
    """A sampler's indices as places, batch after batch, without those that have been seen.

    Attributes:
        batch_size: images in a batch of this process.
        unseen: what is still to come, of all processes.
    """

    def __init__(
        self,
        sampler: Iterable[int],
        total_batch_size: int = 1,
        groups: Sequence[int] | np.ndarray | None = None,
    ) -> None:
        """Number what an endless sampler gives.

        Args:
            sampler: gives this process's part of the stream.
            total_batch_size: images in a step of all processes together.
            groups: of each image of the data set, for batches of one group each; None: any images
                make a batch.
        """
        # Read here, not in __iter__: that runs inside loader workers, which have no process group.
        self.rank, self.world_size = comm.get_rank(), comm.get_world_size()
        self.sampler, self.groups = sampler, groups
        assert total_batch_size > 0 and total_batch_size % self.world_size == 0, (
            f"The total batch size ({total_batch_size}) must be a positive multiple of the number"
            f" of processes ({self.world_size})."
        )
        self.batch_size = total_batch_size // self.world_size
        self.unseen = Unseen()

    def __iter__(self) -> Iterator[Place]:
        """Yield places without end; in a batch, and ungrouped, in the order of their positions."""
        outlive_signals()
        waiting: dict[int, list[tuple[int, int]]] = defaultdict(list)
        batch = self.unseen.num_seen // (self.batch_size * self.world_size)
        for position, image in self._coming():
            group = waiting[0 if self.groups is None else int(self.groups[image])]
            group.append((position, image))
            if len(group) == self.batch_size:
                yield from (Place(*each, batch) for each in group)
                group.clear()
                batch += 1

    def _coming(self) -> Iterator[tuple[int, int]]:
        """Yield what is unseen of this process, positions and indices."""
        pending = set(self.unseen.pending)
        for turn, index in enumerate(self.sampler):
            position = turn * self.world_size + self.rank
            if position >= self.unseen.next or position in pending:
                yield position, int(index)


def groups_by_aspect(records: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """Return the group of each image, (N,) uint8: 0 for those wider than high, 1 for all others.

    Args:
        records: dataset dicts; one without "width" and "height" counts as not wider.
    """
    is_wider = (record.get("width", 0) > record.get("height", 0) for record in records)
    return np.fromiter((not each for each in is_wider), np.uint8)


def own_positions(begin: int, end: int, rank: int, world_size: int) -> range:
    """Return the positions in [begin, end) that a process takes."""
    return range(begin + (rank - begin) % world_size, end, world_size)


def join_unseen(parts: Sequence[Unseen]) -> Unseen:
    """Join what each process has not seen, in the order of the ranks."""
    following = max(part.next for part in parts)
    pending: set[int] = set()
    for rank, part in enumerate(parts):
        pending.update(part.pending, own_positions(part.next, following, rank, len(parts)))
    return Unseen(following, tuple(sorted(pending)))
