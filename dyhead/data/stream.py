"""The training images as one numbered stream, which a resumed run enters where it was left.

Every image that a run draws has a *position*: 0 for the first, counted over all processes. The
process of rank r of W takes the positions p with p % W == r. What is random about an image follows
from the run's seed and its position, so neither the number of loader workers nor what they have
loaded ahead matters. Batches are formed of positions, before any image is read; where images are
grouped by their aspect ratio, some that were drawn wait for others of their kind, and are kept as
*pending* positions.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dyhead.d2.data import DatasetFromList
from dyhead.d2.data.build import trivial_batch_collator
from dyhead.d2.data.common import ToIterableDataset
from dyhead.d2.utils import comm
from dyhead.data.last_steps import LastSteps
from dyhead.data.seeding import kept_generators, seed_cpu_generators
from dyhead.data.stream_places import Place, StreamSampler, Unseen, join_unseen, own_positions
from dyhead.errors import UserError

POSITION_KEY = "stream_position"
BATCH_KEY = "stream_batch"

Mapper = Callable[[Any], dict[str, Any] | None]


class Ending(NamedTuple):
    """The last steps of a training, whose images are mapped in a way of their own."""

    steps: LastSteps
    mapper: Mapper


class MappedStream(Dataset[dict[str, Any]]):
    """Maps the image of a place, with random numbers of the place's own."""

    def __init__(
        self,
        dataset: Sequence[Any],
        mapper: Mapper,
        seed: int,
        ending: Ending | None = None,
    ) -> None:
        """Map the dicts of `dataset`.

        Args:
            dataset: dataset dicts.
            mapper: to a model's input, or to None for an image that is left out: another one,
                chosen by chance, takes its place. It finds under BATCH_KEY, beside the dict's own
                keys, the run's seed and the number of the image's batch.
            seed: of the run.
            ending: the mapper of the last steps; None: the same.
        """
        self._dataset, self._mapper, self.seed, self._ending = dataset, mapper, seed, ending

    def __len__(self) -> int:
        """Return the number of images in the data set."""
        return len(self._dataset)

    def __getitem__(self, place: Place) -> dict[str, Any]:
        """Return the mapped image, with its position under POSITION_KEY.

        Raises:
            UserError: the mapper takes no image of the data set.
        """
        mapper = self._mapper_at(place.position)
        batch = self.seed, place.batch
        for index in self._choices(place):
            seed_cpu_generators(self.seed, place.position)
            mapped = mapper({**self._dataset[index], BATCH_KEY: batch})
            if mapped is not None:
                return {**mapped, POSITION_KEY: place.position}
        raise UserError(
            f"None of the {len(self)} images of the data set can be used: check that the files"
            " exist and can be read."
        )

    def _mapper_at(self, position: int) -> Mapper:
        ending = self._ending
        return ending.mapper if ending and ending.steps.includes(position) else self._mapper

    def _choices(self, place: Place) -> Iterator[int]:
        """Yield the index of a place, then those of all images in random order."""
        yield place.image
        yield from (
            np.random.default_rng((self.seed, place.position)).permutation(len(self)).tolist()
        )


class TrainingBatches:
    """Endless batches of training images that know which of the stream have been given out.

    Iterate over it once: what `load_state_dict` restores holds for an iteration begun afterwards.

    Attributes:
        total_batch_size: images in a step of all processes together.
        is_grouped: whether batches wait for images of the same aspect.
    """

    def __init__(
        self,
        dataset: Any,
        mapper: Mapper,
        make_sampler: Callable[[int], Iterable[int]],
        *,
        seed: int | None,
        total_batch_size: int,
        groups: Sequence[int] | np.ndarray | None = None,
        num_workers: int,
        timeout: int = 0,
        ending: Ending | None = None,
    ) -> None:
        """Build a loader over the stream.

        Args:
            dataset: a list of dataset dicts, or a map-style data set of them.
            mapper: see `MappedStream`.
            make_sampler: from a seed to the endless indices of this process.
            seed: not negative; None lets all processes agree on a random one.
            total_batch_size: images in a step of all processes together.
            groups: of each image, for batches of one group each; None: any images make a batch.
            num_workers: loader processes of each process.
            timeout: seconds that these may take for a batch; 0 is no limit.
            ending: see `MappedStream`.
        """
        if isinstance(dataset, list):
            dataset = DatasetFromList(dataset, copy=False)
        self._make_sampler = make_sampler
        seed = comm.shared_random_seed() if seed is None else seed
        self._stream = StreamSampler(make_sampler(seed), total_batch_size, groups)
        self._images = MappedStream(dataset, mapper, seed, ending)
        self._last_steps = ending.steps if ending else None
        self._unseen = Unseen()  # as far as this process is concerned
        self.total_batch_size = total_batch_size
        self.is_grouped = groups is not None
        # Images that a worker loads in its turn: one keeps little memory ahead of large images.
        self._chunk_size = 1 if self.is_grouped else self._stream.batch_size
        self._loader = self._build_loader(num_workers, timeout)

    def _build_loader(self, num_workers: int, timeout: int) -> Iterable[list[dict[str, Any]]]:
        images = ToIterableDataset(self._images, self._stream, shard_chunk_size=self._chunk_size)
        return DataLoader(
            images,
            self._chunk_size,
            num_workers=num_workers,
            collate_fn=trivial_batch_collator,
            timeout=timeout,
            # A generator of its own: the loader draws nothing from the training's.
            generator=torch.Generator().manual_seed(self.seed),
        )

    @property
    def seed(self) -> int:
        """The run's seed: of the order of the images and of what is random about each."""
        return self._images.seed

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        """Yield batches of mapped images; the caller's random numbers stay as they are."""
        chunks = iter(self._loader)
        num_chunks = self._stream.batch_size // self._chunk_size
        while True:
            with kept_generators():  # without workers the images are mapped here
                batch = [image for _ in range(num_chunks) for image in next(chunks)]
            self._note([image.pop(POSITION_KEY) for image in batch])
            yield batch

    def _note(self, positions: Sequence[int]) -> None:
        before = self._unseen
        following = max(before.next, max(positions) + 1)
        skipped = set(self._own(before.next, following))
        pending = (skipped | set(before.pending)) - set(positions)
        self._unseen = Unseen(following, tuple(sorted(pending)))

    def _own(self, begin: int, end: int) -> range:
        """Return the positions of this process in [begin, end)."""
        return own_positions(begin, end, self._stream.rank, self._stream.world_size)

    @property
    def num_images(self) -> int:
        """The number of images in the data set."""
        return len(self._images)

    @property
    def unseen(self) -> Unseen:
        """The positions that this process has not given out; those of others do not count."""
        return self._unseen

    def state_dict(self, unseen: Sequence[Unseen]) -> dict[str, Any]:
        """Return the state of the whole run's stream.

        Args:
            unseen: of each process, in the order of their ranks.
        """
        whole = join_unseen(unseen)
        return {
            "seed": self.seed,
            "size": self.num_images,
            "batch": self.total_batch_size,
            "next": whole.next,
            "pending": list(whole.pending),
            **({"last_steps": self._last_steps.state_dict()} if self._last_steps else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, in as many processes and batches as there are now."""
        self._images.seed = seed = int(state["seed"])
        self._stream.sampler = self._make_sampler(seed)
        unseen = Unseen(int(state["next"]), tuple(state["pending"]))
        if self._last_steps:
            batch = int(state["batch"])
            self._last_steps.load_state_dict(state.get("last_steps"), batch, unseen.num_seen)
        self.enter(unseen)

    def plan(self, num_steps: int) -> None:
        """Take another length of the training, in steps: its last steps move."""
        if self._last_steps:
            self._last_steps.plan(num_steps)

    def enter(self, unseen: Unseen) -> None:
        """Go on with these positions of all processes together."""
        self._stream.unseen = unseen
        stream = self._stream
        own = (p for p in unseen.pending if p % stream.world_size == stream.rank)
        self._unseen = Unseen(unseen.next, tuple(own))
