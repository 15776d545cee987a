"""Datasets wrapped round datasets: serialised lists, mapping, sampling in workers, batching."""

import contextlib
import copy
import logging
import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset, Sampler, get_worker_info

logger = logging.getLogger("detectron2.data.common")

_WARN_AFTER_RETRIES = 3


class _TorchSerializedList:
    """A list whose items lie pickled in one tensor.

    A list of dicts costs every loader worker its own copy, because counting references writes to
    the shared pages. One tensor is shared by forked workers as it is, and moves to shared memory
    for spawned ones.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        buffer = bytearray()
        ends = []
        for item in items:
            buffer += pickle.dumps(item, protocol=pickle.HIGHEST_PROTOCOL)
            ends.append(len(buffer))
        self._ends = torch.tensor(ends, dtype=torch.int64)
        self._bytes = torch.frombuffer(buffer or bytearray(1), dtype=torch.uint8)
        logger.info(f"Serialized {len(ends)} dataset entries: {len(buffer) / 2**20:.2f} MiB.")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Any:
        index = range(len(self))[index]  # negative indices, and IndexError beyond the end
        begin = int(self._ends[index - 1]) if index else 0
        return pickle.loads(self._bytes[begin : int(self._ends[index])].numpy().data)


_default_serialize: Callable[[list[Any]], Any] = _TorchSerializedList


@contextlib.contextmanager
def set_default_dataset_from_list_serialize_method(
    new: Callable[[list[Any]], Any],
) -> Iterator[None]:
    """Within the context, DatasetFromList stores its list as `new(list)`."""
    global _default_serialize
    previous, _default_serialize = _default_serialize, new
    try:
        yield
    finally:
        _default_serialize = previous


class DatasetFromList(Dataset):
    """A list as a dataset.

    Args:
        lst: the elements.
        copy: give out deep copies, so that a mapper may change what it receives. Serialised
            elements are new objects each time anyway.
        serialize: True stores the list pickled in one tensor, which keeps the memory of loader
            workers low; a callable makes the storage from the list; False keeps the list.

    Raises:
        TypeError: `serialize` is neither a bool nor callable.
    """

    def __init__(
        self,
        lst: list[Any],
        copy: bool = True,
        serialize: bool | Callable[[list[Any]], Any] = True,
    ) -> None:
        if not isinstance(serialize, bool) and not callable(serialize):
            raise TypeError(f"serialize must be a bool or callable, got {serialize!r}.")
        store = serialize if callable(serialize) else _default_serialize
        self._lst: Sequence[Any] = store(lst) if serialize else lst
        self._copy = copy and not serialize

    def __len__(self) -> int:
        return len(self._lst)

    def __getitem__(self, idx: int) -> Any:
        return copy.deepcopy(self._lst[idx]) if self._copy else self._lst[idx]


class _MapIterableDataset(IterableDataset):
    def __init__(self, dataset: Iterable[Any], map_func: Callable[[Any], Any]) -> None:
        self._dataset = dataset
        self._map_func = map_func

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        for element in self._dataset:
            mapped = self._map_func(element)
            if mapped is not None:
                yield mapped


class MapDataset(Dataset):
    """A function over the elements of a dataset; it may return None to skip an element.

    Over an iterable dataset this is an iterable dataset too, and skipped elements are left out.
    Over a map-style dataset a random other element takes the place of a skipped one.

    Args:
        dataset: a map-style or iterable dataset.
        map_func: a function of one element. Workers that are spawned instead of forked need it to
            be picklable: a function of a module or an object, not a lambda.
    """

    def __new__(cls, dataset: Any, map_func: Callable[[Any], Any]) -> Any:
        """Choose the style that fits `dataset`."""
        if isinstance(dataset, IterableDataset):
            return _MapIterableDataset(dataset, map_func)
        return super().__new__(cls)

    def __init__(self, dataset: Any, map_func: Callable[[Any], Any]) -> None:
        self._dataset = dataset
        self._map_func = map_func
        self._random = random.Random(42)
        self._failed: set[int] = set()

    def __getnewargs__(self) -> tuple[Any, Callable[[Any], Any]]:
        return self._dataset, self._map_func

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, idx: int) -> Any:
        current = int(idx)
        retries = 0
        while (mapped := self._map_func(self._dataset[current])) is None:
            self._failed.add(current)
            retries += 1
            if retries >= _WARN_AFTER_RETRIES:
                logger.warning(f"The mapper returned None {retries} times in the place of {idx}.")
            current = self._other_index()
        self._failed.discard(current)
        return mapped

    def _other_index(self) -> int:
        if len(self._failed) == len(self._dataset):
            raise RuntimeError(
                f"The mapper returned None for each of the {len(self._dataset)} elements of the"
                " dataset: check that its files exist and can be read."
            )
        while True:
            index = self._random.randrange(len(self._dataset))
            if index not in self._failed:
                return index


def _shard_for_worker(indices: Iterable[int], chunk_size: int) -> Iterator[int]:
    """This loader worker's part of `indices`: every num_workers-th chunk of them.

    With chunks of one batch, workers that take turns give the batches of a single process.
    """
    worker = get_worker_info()
    if worker is None or worker.num_workers == 1:
        yield from indices
        return
    for position, index in enumerate(indices):
        if position // chunk_size % worker.num_workers == worker.id:
            yield index


class ToIterableDataset(IterableDataset):
    """A map-style dataset read in its sampler's order; the sampler runs inside the workers.

    Args:
        dataset: a map-style dataset.
        sampler: gives indices; it has to be cheap, since each worker iterates over all of it.
        shard_sampler: False if the sampler itself gives each worker different indices.
        shard_chunk_size: how many consecutive indices go to the same worker.
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: Sampler,
        shard_sampler: bool = True,
        shard_chunk_size: int = 1,
    ) -> None:
        assert not isinstance(dataset, IterableDataset), "The dataset is iterable already."
        assert isinstance(sampler, Sampler), f"Expected a Sampler, got {type(sampler).__name__}."
        self.dataset = dataset
        self.sampler = sampler
        self.shard_sampler = shard_sampler
        self.shard_chunk_size = shard_chunk_size

    def __iter__(self) -> Iterator[Any]:
        indices: Iterable[int] = self.sampler
        if self.shard_sampler:
            indices = _shard_for_worker(indices, self.shard_chunk_size)
        for index in indices:
            yield self.dataset[index]

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]


class AspectRatioGroupedDataset(IterableDataset):
    """Batches of images that are all wider than high, or all not, which saves padding.

    Args:
        dataset: gives dicts with "width" and "height".
        batch_size: number of dicts in a batch.
    """

    def __init__(self, dataset: Iterable[dict[str, Any]], batch_size: int) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self._buckets: list[list[dict[str, Any]]] = [[], []]

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        for element in self.dataset:
            group = int(element["width"] <= element["height"])
            self._buckets[group].append(element)
            if len(self._buckets[group]) == self.batch_size:
                # Emptied before the yield: a consumer may stop there for good.
                batch, self._buckets[group] = self._buckets[group], []
                yield batch
