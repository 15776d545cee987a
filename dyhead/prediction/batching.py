"""Forms batches of items of one kind from a stream, and keeps the order of the results."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_LOOK_AHEAD = 4  # batches that may be read before the first item's turn


def map_in_batches(
    compute: Callable[[Sequence[Item]], Sequence[Result]],
    items: Iterable[Item],
    kind: Callable[[Item], Hashable],
    batch_size: int,
) -> Iterator[Result]:
    """Compute items in batches of one kind; the results come in the order of the items.

    A stream may be endless: no more than four batches are read before the result of the first one,
    and those read are held as long as one of them waits for others of its kind.

    Args:
        compute: gives one result per item, in order.
        items: read as late as possible.
        kind: what the items of a batch have in common, such as their size.
        batch_size: of the largest batches; those at the end, and of rare kinds, are smaller.
    """
    waiting: dict[Hashable, list[tuple[int, Item]]] = {}
    done: dict[int, Result] = {}
    next_index = 0

    def finish(key: Hashable) -> None:
        group = waiting.pop(key)
        results = compute([item for _, item in group])
        done.update(zip((index for index, _ in group), results, strict=True))

    for index, item in enumerate(items):
        key = kind(item)
        waiting.setdefault(key, []).append((index, item))
        if len(waiting[key]) == batch_size:
            finish(key)
        elif index - next_index + 1 >= _LOOK_AHEAD * batch_size:
            finish(_oldest(waiting))
        while next_index in done:
            yield done.pop(next_index)
            next_index += 1
    while waiting:
        finish(_oldest(waiting))
        while next_index in done:
            yield done.pop(next_index)
            next_index += 1


def _oldest(waiting: dict[Hashable, list[tuple[int, Item]]]) -> Hashable:
    """Return the kind whose first item came before those of all others."""
    return min(waiting, key=lambda key: waiting[key][0][0])
